"""Sends notifications by e-mail and webhook, until each has arrived or is too old to be of use.

Any number of messengers may run at once: the first one to mark a notification as being sent sends it.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import F

from builds.engine.clients import webhook
from builds.models import Notification, clock
from builds.record.notifications import RESET_KIND
from builds.service.loops import Pauses, repeat

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
# Longer than one try can take.
RESERVATION = timedelta(minutes=3)
PAUSES = Pauses(timedelta(seconds=10), timedelta(minutes=30))
GIVE_UP_AFTER = timedelta(days=3)
AT_ONCE = 20


def run(stop: threading.Event) -> None:
    """Send what is due until ``stop`` is set."""
    repeat(send_notifications, stop, POLL_SECONDS)


def send_notifications() -> None:
    """Send the notifications whose time has come."""
    for notification in Notification.objects.due()[:AT_ONCE]:
        until = clock.now() + RESERVATION
        if Notification.objects.due().filter(pk=notification.pk).update(sending_until=until, tries=F("tries") + 1):
            notification.tries += 1
            _send(notification)


def _send(notification: Notification) -> None:
    try:
        if notification.channel == Notification.Channel.EMAIL:
            _send_email(notification)
        else:
            _post(notification)
    except Exception as error:  # any error: staff must see why it was not sent, and it is tried again
        if not isinstance(error, (webhook.WebhookFailed, SMTPException, OSError)):
            logger.exception("notification %s could not be sent", notification.pk)
        _try_again(notification, str(error) or type(error).__name__)
    else:
        _settle(notification, Notification.State.SENT, error="")


def _send_email(notification: Notification) -> None:
    reply_to = [notification.reply_to] if notification.reply_to else None
    EmailMessage(notification.subject, notification.text, settings.EMAIL_FROM, [notification.recipient], reply_to=reply_to).send()


def _post(notification: Notification) -> None:
    message = {
        "id": notification.pk,
        "kind": notification.kind,
        "subject": notification.subject,
        "text": notification.text,
        "at": notification.created_at.isoformat(),
    }
    webhook.post(settings.NOTIFY_WEBHOOK_URL, settings.NOTIFY_WEBHOOK_SECRET, message)


def _try_again(notification: Notification, error: str) -> None:
    logger.warning("notification %s could not be sent by %s: %s", notification.pk, notification.channel, error)
    if clock.now() - notification.created_at > GIVE_UP_AFTER:
        _settle(notification, Notification.State.GIVEN_UP, error=error)
        return
    next_try_at = clock.now() + PAUSES.after(notification.tries)
    Notification.objects.filter(pk=notification.pk).update(next_try_at=next_try_at, sending_until=None, error=error[:2000])


def _settle(notification: Notification, state: Notification.State, *, error: str) -> None:
    """End it. The text of a password reset is a key to an account, so it does not stay."""
    gone = {"text": ""} if notification.kind == RESET_KIND else {}
    Notification.objects.filter(pk=notification.pk).update(
        state=state, settled_at=clock.now(), sending_until=None, error=error[:2000], **gone
    )
