"""How long another service asks to wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from builds.lib.waiting import limit_reset, retry_after


@pytest.mark.parametrize(("header", "seconds"), [("0", 0), ("1800", 1800), (" 60 ", 60), ("86400", 86_400)])
def test_seconds_to_wait_are_read(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_a_date_to_wait_until_is_read() -> None:
    wait = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert wait is not None
    assert 3000 < wait <= 3600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


GARBAGE = [
    "",
    "²",
    "-5",
    "1e3",
    "86401",
    "9" * 18,
    "9" * 5000,
    "soon",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Fri, 99 Dec 99999 99:99:99 GMT",
]
DATES = [
    "Mon, 0 Jan 0000 00:00:00 +9999",
    "Wed, 21 Oct 2015 07:28:00 -99999999999",
    ", , , ,",
    "\0",
    "Mon, 1 Jan 1 00:00:00 +2359",
]


@pytest.mark.parametrize("header", [*GARBAGE, *DATES, None])
def test_garbage_or_more_than_a_day_is_not_believed(header: str | None) -> None:
    assert retry_after(header) in (None, 0)
    assert limit_reset(header) in (None, 0)


def test_the_time_of_a_reset_is_read() -> None:
    wait = limit_reset(str(int(time.time()) + 1800))
    assert wait is not None
    assert 1000 < wait <= 1800
    assert limit_reset(str(int(time.time()) - 5)) == 0
    assert limit_reset(str(int(time.time()) + 200_000)) is None
