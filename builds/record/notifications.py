"""Writes notifications for every way that the settings name. The outbox sends them."""

from __future__ import annotations

from django.conf import settings

from builds.models import Notification

MAX_SUBJECT = 200
RESET_KIND = "password-reset"


def is_on() -> bool:
    """Whether anybody is to be notified."""
    return bool(settings.NOTIFY_EMAILS or settings.NOTIFY_WEBHOOK_URL)


def send_email(kind: str, address: str, subject: str, text: str, *, reply_to: str = "") -> None:
    """Queue an e-mail to one person. ``reply_to`` is the address that gets the answer, if it is not the sender's."""
    channel, subject = Notification.Channel.EMAIL, subject[:MAX_SUBJECT]
    Notification.objects.create(channel=channel, recipient=address, reply_to=reply_to, kind=kind, subject=subject, text=text)


def notify(kind: str, subject: str, text: str) -> None:
    """Queue a message on each way, in the caller's transaction. ``kind`` lets a program tell messages apart."""
    ways = [(Notification.Channel.EMAIL, address) for address in settings.NOTIFY_EMAILS]
    if settings.NOTIFY_WEBHOOK_URL:
        ways.append((Notification.Channel.WEBHOOK, ""))
    Notification.objects.bulk_create(
        Notification(channel=channel, recipient=recipient, kind=kind, subject=subject[:MAX_SUBJECT], text=text)
        for channel, recipient in ways
    )
