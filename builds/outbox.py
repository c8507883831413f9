"""Sends status updates to desci-server: in order per submission, again until it has them, each try recorded.

Any number of outboxes may run at once: whoever marks an update as being sent first has it for that try.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from builds import lifecycle
from builds.clients.desci import Answer, DesciServer, Outcome, classify
from builds.errors import DesciServerDown
from builds.outbox_models import OutboxHold, StatusUpdate, StatusUpdateTry

logger = logging.getLogger(__name__)

# An update that is being sent is nobody else's for so long: more than the client's own time limit.
HOLD = timedelta(seconds=60)
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=5)
POLL_SECONDS = 0.2
SENDERS = 4


def pause(tries: int) -> timedelta:
    """How long to wait after so many tries: 1 s, 2 s, 4 s … 5 min."""
    return min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)


def run(stop: threading.Event) -> None:
    """Send what is due until ``stop`` is set. Several at once, so that one that waits for an answer holds up no other."""
    server = DesciServer(settings.DESCI_SERVER_URL, settings.INTERNAL_SERVICE_SECRET)
    sending: set[Future[None]] = set()
    with ThreadPoolExecutor(SENDERS, thread_name_prefix="outbox") as pool:
        while not stop.is_set():
            sending = {future for future in sending if not future.done()}
            for update in _take(SENDERS - len(sending)):
                sending.add(pool.submit(_send_in_thread, update, server))
            stop.wait(POLL_SECONDS)


def _take(most: int) -> list[StatusUpdate]:
    """Due updates that are now ours to send. While desci-server refuses our secret, one alone, and only now and then."""
    if most <= 0:
        return []
    due = StatusUpdate.objects.due()
    if hold := OutboxHold.objects.first():
        due, most = StatusUpdate.objects.heads().idle().order_by("next_try_at"), 1
        if not (due.exists() and _claim_probe(hold)):
            return []
    updates = due.select_related("submission", "build")[:most]
    until = timezone.now() + HOLD
    return [update for update in updates if StatusUpdate.objects.idle().filter(pk=update.pk).update(sending_until=until)]


def _claim_probe(hold: OutboxHold) -> bool:
    """Whether it is time to ask whether the secrets agree again, and nobody else asks."""
    now = timezone.now()
    return bool(OutboxHold.objects.filter(next_try_at=hold.next_try_at, next_try_at__lte=now).update(next_try_at=now + HOLD))


def _send_in_thread(update: StatusUpdate, server: DesciServer) -> None:
    try:
        send(update, server)
    except Exception:
        logger.exception("status update %s could not be handled", update.pk)
    finally:
        connection.close()


def send(update: StatusUpdate, server: DesciServer) -> None:
    """One try, recorded with its answer, and what follows from it."""
    started_at = timezone.now()
    try:
        submission = update.submission
        answer = server.update_status(submission.node_uuid, submission.job_id, update.status, update.message)
    except Exception as error:  # whatever it was: staff must see why the update does not leave, and that it is tried again
        if not isinstance(error, DesciServerDown):
            logger.exception("status update %s could not be sent", update.pk)
        seconds = (timezone.now() - started_at).total_seconds()
        _record(update, Outcome.TRY_AGAIN, StatusUpdateTry(status_update=update, error=str(error), seconds=seconds))
    else:
        body = answer.body[:4000].replace("\0", "")  # PostgreSQL takes none in a text
        attempt = StatusUpdateTry(status_update=update, code=answer.code, body=body, seconds=answer.seconds)
        _record(update, classify(answer), attempt, answer)


@transaction.atomic
def _record(update: StatusUpdate, outcome: Outcome, attempt: StatusUpdateTry, answer: Answer | None = None) -> None:
    attempt.save()
    tries = update.tries + 1
    pending = StatusUpdate.objects.pending().filter(pk=update.pk)
    pending.update(tries=tries, sending_until=None)
    if outcome in (Outcome.OK, Outcome.GONE):
        _go_on()
    if outcome == Outcome.UNAUTHORIZED:
        _hold_back(str(answer))
    elif outcome == Outcome.OK:
        pending.update(state=StatusUpdate.State.RECEIVED, settled_at=timezone.now())
        if update.tries:
            _hurry_others()
    elif outcome == Outcome.GONE and answer:
        pending.update(state=StatusUpdate.State.UNWANTED, settled_at=timezone.now())
        lifecycle.nobody_waits(update.submission, answer=f"{answer.code}: {answer.body[:200]}")
    else:
        pending.update(next_try_at=timezone.now() + pause(tries))
        _skip_if_pointless(update)
        logger.warning("status update %s was not received (%s)", update.pk, attempt.code or attempt.error)


def _hold_back(answer: str) -> None:
    """The two services' secrets differ: no update can arrive until an operator mends that, and none is tried in vain."""
    hold, is_new = OutboxHold.objects.get_or_create(defaults={"answer": answer, "next_try_at": timezone.now() + pause(1)})
    if is_new:
        logger.critical(
            "desci-server refuses our INTERNAL_SERVICE_SECRET (%s): ALL status updates are held back. "
            "Set the same secret in both services; nothing is lost, and all goes on by itself.",
            answer,
        )
    else:
        tries = hold.tries + 1
        OutboxHold.objects.update(answer=answer, tries=tries, next_try_at=timezone.now() + pause(tries))


def _go_on() -> None:
    """desci-server has taken our secret."""
    if OutboxHold.objects.all().delete()[0]:
        logger.warning("desci-server accepts our secret again: status updates go on")
        StatusUpdate.objects.pending().update(next_try_at=timezone.now())


def _hurry_others() -> None:
    """An update that had failed has now arrived: desci-server is back, and what waits out a pause need not wait longer."""
    StatusUpdate.objects.idle().filter(next_try_at__gt=timezone.now()).update(next_try_at=timezone.now())


def _skip_if_pointless(update: StatusUpdate) -> None:
    """An unheard "in progress" says nothing to who hears the next word at once."""
    later = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__gt=update.pk)
    if not update.is_final and later.exists():
        later.update(next_try_at=timezone.now() + pause(update.tries + 1))
        StatusUpdate.objects.pending().filter(pk=update.pk).update(state=StatusUpdate.State.SKIPPED, settled_at=timezone.now())
