"""Sends status updates to desci-server: in order per submission, again until it has them, each try recorded.

Any number of outboxes may run at once: whoever moves an update's ``next_try_at`` first has it for that try.
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
from builds.models import StatusUpdate, StatusUpdateTry

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
    """Due updates that are now ours to send."""
    if most <= 0:
        return []
    taken = []
    for update in StatusUpdate.objects.due().select_related("submission", "build")[:most]:
        ours = StatusUpdate.objects.pending().filter(pk=update.pk, next_try_at=update.next_try_at)
        if ours.update(next_try_at=timezone.now() + HOLD):
            taken.append(update)
    return taken


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
    if outcome == Outcome.OK:
        pending.update(tries=tries, state=StatusUpdate.State.RECEIVED, settled_at=timezone.now())
    elif outcome == Outcome.GONE and answer:
        pending.update(tries=tries, state=StatusUpdate.State.UNWANTED, settled_at=timezone.now())
        lifecycle.nobody_waits(update.submission, answer=f"{answer.code}: {answer.body[:200]}")
    else:
        pending.update(tries=tries, next_try_at=timezone.now() + pause(tries))
        _skip_if_pointless(update)
        _warn(update, outcome, attempt)


def _skip_if_pointless(update: StatusUpdate) -> None:
    """An unheard "in progress" says nothing to who hears the next word at once."""
    later = StatusUpdate.objects.pending().filter(submission=update.submission_id, id__gt=update.pk)
    if not update.is_final and later.exists():
        later.update(next_try_at=timezone.now() + pause(update.tries + 1))
        StatusUpdate.objects.pending().filter(pk=update.pk).update(state=StatusUpdate.State.SKIPPED, settled_at=timezone.now())


def _warn(update: StatusUpdate, outcome: Outcome, attempt: StatusUpdateTry) -> None:
    if outcome == Outcome.UNAUTHORIZED:
        logger.error("desci-server refuses our INTERNAL_SERVICE_SECRET: set the same one in both services. Nothing is lost.")
    else:
        logger.warning("status update %s was not received (%s)", update.pk, attempt.code or attempt.error)
