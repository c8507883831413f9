"""The card *Handling* on the page of a submission."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from builds.lifecycle import HANDLE, away_refusal
from builds.models import Build, EventKind, clock

ASIDE_DAYS = 7
MAX_NOTES = 30


def make_context(request: HttpRequest, newest: Build) -> dict[str, Any]:
    """What the card shows of the submission whose newest attempt this is."""
    submission = newest.submission
    # Not from the events of the page: it has only the newest, of any kind.
    written = submission.events.filter(kind=EventKind.NOTE)
    notes = list(written.order_by("-id")[: MAX_NOTES + 1])
    return {
        "notes": notes[:MAX_NOTES],
        "earlier_notes": written.count() - MAX_NOTES if len(notes) > MAX_NOTES else 0,
        "handling": getattr(submission, "handling", None),
        "handles": request.user.has_perm(HANDLE),
        "may_put_away": not away_refusal(newest),
        "aside_until": clock.now().date() + timedelta(days=ASIDE_DAYS),
    }
