"""docs/operations/ says of each of the service's own failures what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builds.errors import BuildError, DatabaseAway, Fault, ReleaseReplaced, WorkerLost, WorkerStopped
from builds.lifecycle.retrying import AWAITED, MAX_OUTAGES, TRANSIENT

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "troubles.md"
AT_ONCE = {WorkerStopped.code, ReleaseReplaced.code}


def service_codes(error: type[BuildError] = BuildError) -> set[str]:
    below = {code for kind in error.__subclasses__() for code in service_codes(kind)}
    return below | ({error.code} if error.fault is Fault.SERVICE else set())


def rows() -> dict[str, str]:
    """By code, what the page says about retries."""
    table = PAGE.read_text().partition("## Causes of class *service*")[2]
    return dict(re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE))


def test_every_cause_of_class_service_has_a_row() -> None:
    assert set(rows()) == service_codes()


@pytest.mark.parametrize("code", sorted(service_codes()))
def test_a_row_says_whether_the_cause_is_retried(code: str) -> None:
    said = "yes, `AUTOMATIC_RETRIES` times" if code in TRANSIENT else "for `DELIVERY_PATIENCE`" if code in AWAITED else "no"
    said = f"yes, at once, up to {MAX_OUTAGES} times in a row" if code == DatabaseAway.code else said
    said = "yes, at once" if code in AT_ONCE else "once" if code == WorkerLost.code else said
    assert rows()[code] == said
