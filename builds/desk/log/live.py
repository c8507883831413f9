"""Sends what is new in a log to everybody who follows it. One thread of the process asks the database for all readers, and renders each
change once.

A reader's request is checked like any other before it comes here. The thread checks every two seconds that each reader still has access:
that the session exists, and that the account is active, has the same password and the permission. What it sends does not depend on the
reader (docs/decisions/live-log.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from builds.desk.access import VIEW, StaffRequest
from builds.desk.log.answers import Progress, default_look, describe, describe_lines, encode, find_new_lines
from builds.models import Build
from builds.record.patience import DATABASE_AWAY
from jobsite.web.stream import STREAM, Stream

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

EVERY_SECONDS = 0.25  # as often as a log is written
CHECK_SECONDS = 2.0
# Something is sent at least this often, so that a reader can tell a broken connection from a quiet log.
ALIVE_SECONDS = 10.0
# Then the answer ends. The script asks again, and that request is checked as a whole.
MAX_SECONDS = 300.0


@dataclass(eq=False)
class Reader:
    """Somebody who follows a log."""

    stream: Stream
    session: str
    user: int
    password: str  # its hash: another one ends the session
    build: UUID
    seen: Progress
    until: float


def go_on(request: StaffRequest, build: Build, seen: Progress) -> None:
    """Keep the response to a request open after the progress that it has ``seen``, if the web server can. The request was checked."""
    keep = request.META.get(STREAM)
    if keep is not None:
        session, user, password = str(request.session.session_key), int(request.user.pk or 0), request.user.password
        until = time.monotonic() + MAX_SECONDS
        keep(lambda stream: broadcast.add(Reader(stream, session, user, password, build.pk, seen, until)))


class Broadcast:
    """The readers of this process, and the thread that sends them what is new. The thread ends with the last reader."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[Reader] = []
        self._is_running = False
        self._checked_at = self._sent_at = 0.0

    def add(self, reader: Reader) -> None:
        with self._lock:
            self._readers.append(reader)
            if not self._is_running:
                threading.Thread(target=self._run, name="live logs", daemon=True).start()
                self._is_running = True  # or the next reader tries again: the machine may have no thread left for a moment

    def _run(self) -> None:
        try:
            while self._has_readers():
                self.send(time.monotonic())
                time.sleep(EVERY_SECONDS)
        except DATABASE_AWAY:
            self._end_all()  # the script asks again, and gets the error
        except Exception:
            logger.exception("Live logs could not be sent")
            self._end_all()
        finally:
            connection.close()

    def _has_readers(self) -> bool:
        with self._lock:
            self._readers = [reader for reader in self._readers if reader.stream.is_open]
            self._is_running = bool(self._readers)
            return self._is_running

    def _end_all(self) -> None:
        with self._lock:
            readers, self._readers, self._is_running = self._readers, [], False
        _end(readers)

    def send(self, now: float) -> None:
        """Send each reader what is new, and end the answers of readers who have lost access."""
        readers = [reader for reader in self._readers if reader.stream.is_open]
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            readers = _check(readers)
        found = read_progress({reader.build for reader in readers})
        for (build, seen), group in _grouped(((reader.build, reader.seen), reader) for reader in readers).items():
            if build not in found:
                _end(group)
            elif found[build] != seen:
                _send_news(build, seen, group)
        _end([reader for reader in readers if now > reader.until])
        if now - self._sent_at >= ALIVE_SECONDS:
            self._sent_at = now
            Stream.write_to_all([reader.stream for reader in readers], b"\n")


broadcast = Broadcast()


def read_progress(builds: Iterable[UUID]) -> dict[UUID, Progress]:
    """The progress of each build that exists, by one statement."""
    rows = Build.objects.filter(pk__in=builds).order_by().annotate(Count("stages"), Count("stages__finished_at"))
    names = ("log_lines", "state", "cancel_requested_at", "stages__count", "stages__finished_at__count")
    return {pk: Progress(*values) for pk, *values in rows.values_list("pk", *names)}


def _send_news(build_id: UUID, seen: Progress, readers: Sequence[Reader]) -> None:
    build = Build.objects.filter(pk=build_id).first()
    if build is None:
        return _end(readers)
    stages = list(build.stages.all())
    answer, now = describe(build, stages), Progress.of(build, stages)
    first, last = find_new_lines(build, seen.lines)
    answer |= describe_lines(build, first, last, default_look(build))
    Stream.write_to_all([reader.stream for reader in readers], encode(answer))
    for reader in readers:
        reader.seen = now
    if not answer["goes_on"]:
        _end(readers)
    return None


def _end(readers: Sequence[Reader]) -> None:
    Stream.end_all([reader.stream for reader in readers])


def _check(readers: Sequence[Reader]) -> list[Reader]:
    """The readers who still have access. The answers of the others end: the script asks again, and gets the reason."""
    sessions = Session.objects.filter(session_key__in={reader.session for reader in readers}, expire_date__gt=timezone.now())
    signed_in = set(sessions.values_list("session_key", flat=True))
    users = User.objects.with_perm(VIEW, backend="django.contrib.auth.backends.ModelBackend")
    passwords = dict(users.filter(pk__in={reader.user for reader in readers}).values_list("pk", "password"))
    parted = _grouped(((r.session in signed_in and passwords.get(r.user) == r.password), r) for r in readers)
    _end(parted.get(False, []))
    return parted.get(True, [])


def _grouped(pairs: Iterable[tuple[K, Reader]]) -> dict[K, list[Reader]]:
    groups: dict[K, list[Reader]] = defaultdict(list)
    for key, reader in pairs:
        groups[key].append(reader)
    return groups
