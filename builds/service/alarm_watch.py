"""Notifies the operators when something goes wrong and when it is over, and once a day of the work that needs a person.

Any number of reconcilers may watch at once: the row of a raised alarm exists once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import transaction

from builds.models import RaisedAlarm, clock
from builds.record import notifications
from builds.staff import alarms
from builds.staff.alarms import Alarm
from builds.staff.digest import digest

PERIOD_SECONDS = 15.0
# An alarm must last this long before anybody is told, and be gone as long before it is over: a restart is no alarm.
PATIENCE_SECONDS = 120.0
DIGEST = "digest "
DIGESTS_KEPT = timedelta(days=7)


class AlarmWatch:
    """``step`` compares the alarms of now with those that were raised."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = clock()
        self._changed: dict[str, float] = {}
        """Since when each kind has differed from what the operators were told."""

    def step(self) -> None:
        if not notifications.is_on() or self._clock() < self._next_at:
            return
        self._next_at = self._clock() + PERIOD_SECONDS
        found = {alarm.kind: alarm for alarm in alarms.find()}
        raised = set(RaisedAlarm.objects.exclude(key__startswith=DIGEST).values_list("key", flat=True))
        self._changed = {kind: self._changed.get(kind, self._clock()) for kind in found.keys() ^ raised}
        for kind, since in self._changed.items():
            if kind in found and (found[kind].is_event or self._has_lasted(since)):
                raise_alarm(found[kind])
            elif kind in raised and self._has_lasted(since):
                end_alarm(kind)
        make_digest()

    def _has_lasted(self, since: float) -> bool:
        return self._clock() - since >= PATIENCE_SECONDS


@transaction.atomic
def raise_alarm(alarm: Alarm) -> None:
    _row, is_new = RaisedAlarm.objects.get_or_create(key=alarm.kind)
    if is_new:
        text = f"{alarm.sentence}\n{alarm.detail}\n\n{settings.PUBLIC_URL}{alarm.path}\n"
        notifications.notify(alarm.kind, f"Jobsite: {alarm.sentence}", text)


@transaction.atomic
def end_alarm(kind: str) -> None:
    """Notify that the alarm is over. An alarm that is an event was over at once, so nobody is notified."""
    deleted, _ = RaisedAlarm.objects.filter(key=kind).delete()
    if deleted and not kind.startswith(alarms.OWN_FAILURE):
        text = f"This is over: {kind}.\n\n{settings.PUBLIC_URL}/queue/\n"
        notifications.notify(kind, f"Jobsite: over: {kind}", text)


@transaction.atomic
def make_digest() -> None:
    """Make the digest of today, if its hour has come and nobody has made it."""
    now = clock.now()
    if settings.NOTIFY_DIGEST_HOUR is None or now.hour < settings.NOTIFY_DIGEST_HOUR:
        return
    key = f"{DIGEST}{now:%Y-%m-%d}"
    if RaisedAlarm.objects.filter(key=key).exists():
        return
    _row, is_new = RaisedAlarm.objects.get_or_create(key=key)
    if is_new:
        RaisedAlarm.objects.filter(key__startswith=DIGEST, since__lt=now - DIGESTS_KEPT).delete()
        subject, text = digest()
        notifications.notify("digest", subject, text)
