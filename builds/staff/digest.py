"""The daily digest: how the last day went, and which work needs a person."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import Count, QuerySet

from builds.lib.text import visible
from builds.lib.units import counted
from builds.models import Build, State, Submission, clock
from builds.staff import alarms
from builds.staff.alarms import MAX_COUNTED
from builds.staff.attention import stuck, undelivered, unsettled

DAY = timedelta(days=1)
MAX_LISTED = 20


def digest() -> tuple[str, str]:
    """Its subject and text."""
    failed = unsettled().filter(updated_at__gte=clock.now() - DAY)
    waiting = [
        (failed.order_by()[:MAX_COUNTED].count(), "failed in the last day"),
        (stuck().order_by()[:MAX_COUNTED].count(), "without progress for too long"),
        (_count_undelivered(), "with a status update that desci-server has not accepted"),
    ]
    total = sum(number for number, _why in waiting)
    lines = [*_last_day(), "", *(f"{number:>6,} {why}" for number, why in waiting), *_wrong(), *_list(failed)]
    text = "\n".join([*lines, "", f"{settings.PUBLIC_URL}/submissions/?view=needs-me", ""])
    return f"Jobsite: {counted(total, 'submission')} to look at", text


def _count_undelivered() -> int:
    return undelivered().order_by().values("submission").distinct()[:MAX_COUNTED].count()


def _last_day() -> list[str]:
    ended = Build.objects.filter(finished_at__gte=clock.now() - DAY).order_by()
    counts = dict(ended.values_list("state").annotate(Count("pk")))
    words = ", ".join(
        f"{counts.get(state, 0):,} {state.label.lower()}" for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    )
    return [f"Attempts that ended in the last day: {words}."]


def _wrong() -> list[str]:
    return [f"Now wrong: {alarm.sentence}" for alarm in alarms.find()]


def _list(failed: QuerySet[Submission]) -> list[str]:
    rows = list(failed.order_by("-pk")[: MAX_LISTED + 1])
    shown = [f"- {visible(str(row))}\n  {row.link}" for row in rows[:MAX_LISTED]]
    more = ["  and more"] if len(rows) > MAX_LISTED else []
    return ["", "Failed:", *shown, *more] if rows else []
