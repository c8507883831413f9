"""Searching a whole log: which lines match, and which of them are returned."""

from __future__ import annotations

import pytest

from builds.models import Build
from builds.record import log_search
from builds.record.log_search import Search
from tests.support import written

pytestmark = pytest.mark.django_db
LONG_ENOUGH = 600.0


def found(search: Search, build: Build) -> list[int]:
    """All matching lines. There must be few enough for one response."""
    build.refresh_from_db(fields=["log_lines"])
    assert search.advance(build.log_lines, seconds=LONG_ENOUGH)
    hits = search.hits()
    assert (hits.total, hits.before) == (len(hits.lines), 0)
    return hits.lines


@pytest.fixture
def build() -> Build:
    build = written.claimed()
    written.write(build, "a Needle", "nothing", "\x1b[31mnee\x1b[0mdle", "ÄPFEL", stage="fetch")
    written.write(build, "nothing", "NEEDLE needle", "", "Äpfel und ½ needl", stage="build", stream="stderr")
    build.refresh_from_db()
    return build


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("needle", [1, 3, 6]),
        ("NEEDLE", [1, 3, 6]),
        ("äpfel", [4, 8]),
        ("½ needl", [8]),
        ("nothing", [2, 5]),
        ("build", []),  # its stage
        ("stderr", []),  # its stream
        ("\t", []),
        ("\n", []),
        ("31m", []),  # its colour
        (" ", [1, 6, 8]),
        (".*", []),
        ("e\tx", []),
    ],
)
def test_only_the_visible_text_of_a_line_is_searched(build: Build, text: str, lines: list[int]) -> None:
    assert found(log_search.find(build, text), build) == lines


def test_lines_are_found_in_every_batch() -> None:
    build = written.claimed()
    written.fill(build, (f"{number}{' needle' if number % 700 == 0 else ''}" for number in range(1, 20_001)), batch=300)
    assert found(log_search.find(build, "needle"), build) == list(range(700, 20_001, 700))


@pytest.mark.parametrize(
    "text",
    [
        "⛔️ paper.md:3 Could not link",
        "Error: no such file",
        "  error: cannot find",
        "error[E0425]: cannot find",
        "fatal: not a git repository",
        "fatal error: x.h",
        "TypeError: x is not a function",
        "ValueError",
        "java.lang.NullPointerException",
        "Uncaught exception: x",
        "npm ERR! code 1",
        "[12:00] ERROR it broke",
        "FATAL out of memory",
        "panic: runtime error",
        "\x1b[31mError:\x1b[0m in red",
    ],
)
def test_error_lines_are_recognised(text: str) -> None:
    build = written.claimed()
    written.write(build, "all is well", text)
    assert found(log_search.find_errors(build), build) == [2]


@pytest.mark.parametrize(
    "text",
    [
        "0 errors, 3 warnings",
        "no error: all is well",
        "without errors",
        "errors.md",
        "the error is in the eye",
        "📖 Built error.md in 3 ms.",
        "exceptional",
        "$ fatal",
        "exit code 1 after 2 s",
        "Failed to catch",
        "terror: a study",
    ],
)
def test_other_lines_are_not_errors(text: str) -> None:
    build = written.claimed()
    written.write(build, text)
    assert found(log_search.find_errors(build), build) == []


def test_a_failure_reported_by_the_service_is_an_error() -> None:
    build = written.claimed()
    written.write(build, "exit code 0 after 1 s", "exit code 1 after 1 s", "ended by signal 9 after 1 s", stream="service")
    written.write(build, "Failed to build the repo files: x", stream="service")
    assert found(log_search.find_errors(build), build) == [2, 3, 4]


@pytest.mark.parametrize(("cause", "lines"), [(1, [1, 2]), (2, [2]), (3, [2, 3]), (None, [2])])
def test_the_line_of_the_cause_is_an_error(cause: int | None, lines: list[int]) -> None:
    build = written.claimed()
    written.write(build, "a", "Error: b", "c")
    build.cause_log_line = cause
    assert found(log_search.find_errors(build), build) == lines


def test_some_of_many_matches_are_returned_with_their_rank() -> None:
    build = written.claimed()
    written.fill(build, ["x"] * 5000)
    search = log_search.find(build, "x")
    assert search.advance(5000, seconds=LONG_ENOUGH)
    some = search.hits(start=4000)
    assert (some.total, some.before, some.lines) == (5000, 3999, list(range(4000, 5001)))
    some = search.hits(before=4000)
    assert (some.before, some.lines) == (1999, list(range(2000, 4000)))
    assert search.hits(before=1).lines == []
    assert search.hits(start=5001).lines == []


@pytest.mark.parametrize("batch", [1, 7, 250, 1000])
def test_rare_matches_are_returned_with_their_rank(batch: int) -> None:
    build = written.claimed()
    written.fill(build, ["needle" if number in (8, 9, 500, 1000) else "x" for number in range(1, 1001)], batch=batch)
    search = log_search.find(build, "needle")
    assert search.advance(1000, seconds=LONG_ENOUGH)
    for start, before in ((1, 0), (8, 0), (9, 1), (10, 2), (500, 2), (501, 3), (1001, 4)):
        some = search.hits(start=start)
        assert (some.before, some.lines) == (before, [8, 9, 500, 1000][before:]), start
        some = search.hits(before=start)
        assert (some.before, some.lines) == (0, [8, 9, 500, 1000][:before]), start


def test_a_search_stops_at_its_time_limit_and_continues_from_there() -> None:
    """With a time limit of zero it searches one batch."""
    build = written.claimed()
    written.fill(build, ["needle", "x"] * 500, batch=300)
    search = log_search.find(build, "needle")
    so_far = []
    while not search.advance(1000, seconds=0):
        so_far.append((search.searched, search.total, search.hits().lines[-1]))
    assert so_far == [(300, 150, 299), (600, 300, 599), (900, 450, 899)]
    assert (search.searched, search.total) == (1000, 500)
    assert log_search.find(build, "Needle") is search


def test_a_grown_log_is_searched_from_where_the_search_stopped(build: Build) -> None:
    search = log_search.find(build, "needle")
    assert found(search, build) == [1, 3, 6]
    written.write(build, "Error: needle")
    assert found(search, build) == [1, 3, 6, 9]
    assert found(log_search.find_errors(build), build) == [9]


def test_a_grown_batch_is_counted_once(build: Build) -> None:
    """It was written, but the database failed before confirming it; so it was written again together with newer lines."""
    search = log_search.find(build, "needle")
    assert found(search, build) == [1, 3, 6]
    last = build.log_batches.latest("first_line")
    record = last.records.split("\n")[1]
    build.log_batches.filter(pk=last.pk).update(line_count=5, records=f"{last.records}{record}\n")
    Build.objects.filter(pk=build.pk).update(log_lines=9)
    assert found(search, build) == [1, 3, 6, 9]


@pytest.mark.parametrize("gone", [1, 3, 5])
def test_a_search_ends_also_if_a_part_of_the_log_is_gone(gone: int) -> None:
    build = written.claimed()
    written.fill(build, ["needle"] * 6, batch=2)
    build.log_batches.filter(first_line=gone).delete()
    search = log_search.find(build, "needle")
    assert search.advance(6, seconds=LONG_ENOUGH)
    assert search.hits().lines == [number for number in range(1, 7) if number not in (gone, gone + 1)]
