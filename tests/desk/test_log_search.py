"""Looking through a whole log: what is found, and which of it."""

from __future__ import annotations

import pytest

from builds import logs_search
from builds.logs_search import Search
from builds.models import Build
from tests.desk import written

pytestmark = pytest.mark.django_db
LONG_ENOUGH = 600.0


def found(search: Search, build: Build) -> list[int]:
    """All lines that are found, where they are not too many."""
    build.refresh_from_db(fields=["log_lines"])
    assert search.go_on(build.log_lines, seconds=LONG_ENOUGH)
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
def test_what_a_reader_sees_of_a_line_is_found(build: Build, text: str, lines: list[int]) -> None:
    assert found(logs_search.find(build, text), build) == lines


def test_lines_are_found_in_every_batch() -> None:
    build = written.claimed()
    written.fill(build, (f"{number}{' needle' if number % 700 == 0 else ''}" for number in range(1, 20_001)), batch=300)
    assert found(logs_search.find(build, "needle"), build) == list(range(700, 20_001, 700))


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
def test_an_error_is_known_by_its_look(text: str) -> None:
    build = written.claimed()
    written.write(build, "all is well", text)
    assert found(logs_search.find_errors(build), build) == [2]


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
def test_a_word_is_no_error(text: str) -> None:
    build = written.claimed()
    written.write(build, text)
    assert found(logs_search.find_errors(build), build) == []


def test_what_the_service_says_of_an_end_is_an_error() -> None:
    build = written.claimed()
    written.write(build, "exit code 0 after 1 s", "exit code 1 after 1 s", "ended by signal 9 after 1 s", stream="service")
    written.write(build, "Failed to build the repo files: x", stream="service")
    assert found(logs_search.find_errors(build), build) == [2, 3, 4]


@pytest.mark.parametrize(("cause", "lines"), [(1, [1, 2]), (2, [2]), (3, [2, 3]), (None, [2])])
def test_the_line_of_the_cause_is_an_error(cause: int | None, lines: list[int]) -> None:
    build = written.claimed()
    written.write(build, "a", "Error: b", "c")
    build.cause_log_line = cause
    assert found(logs_search.find_errors(build), build) == lines


def test_of_many_some_are_told_with_their_place() -> None:
    build = written.claimed()
    written.fill(build, ["x"] * 5000)
    search = logs_search.find(build, "x")
    assert search.go_on(5000, seconds=LONG_ENOUGH)
    some = search.hits(start=4000)
    assert (some.total, some.before, some.lines) == (5000, 3999, list(range(4000, 5001)))
    some = search.hits(before=4000)
    assert (some.before, some.lines) == (1999, list(range(2000, 4000)))
    assert search.hits(before=1).lines == []
    assert search.hits(start=5001).lines == []


@pytest.mark.parametrize("batch", [1, 7, 250, 1000])
def test_rare_lines_are_told_with_their_place(batch: int) -> None:
    build = written.claimed()
    written.fill(build, ["needle" if number in (8, 9, 500, 1000) else "x" for number in range(1, 1001)], batch=batch)
    search = logs_search.find(build, "needle")
    assert search.go_on(1000, seconds=LONG_ENOUGH)
    for start, before in ((1, 0), (8, 0), (9, 1), (10, 2), (500, 2), (501, 3), (1001, 4)):
        some = search.hits(start=start)
        assert (some.before, some.lines) == (before, [8, 9, 500, 1000][before:]), start
        some = search.hits(before=start)
        assert (some.before, some.lines) == (0, [8, 9, 500, 1000][:before]), start


def test_a_search_takes_no_longer_than_it_may_and_goes_on_where_it_was() -> None:
    """With no time at all it looks through one batch."""
    build = written.claimed()
    written.fill(build, ["needle", "x"] * 500, batch=300)
    search = logs_search.find(build, "needle")
    so_far = []
    while not search.go_on(1000, seconds=0):
        so_far.append((search.searched, search.total, search.hits().lines[-1]))
    assert so_far == [(300, 150, 299), (600, 300, 599), (900, 450, 899)]
    assert (search.searched, search.total) == (1000, 500)
    assert logs_search.find(build, "Needle") is search


def test_a_log_that_has_grown_is_looked_through_from_there(build: Build) -> None:
    search = logs_search.find(build, "needle")
    assert found(search, build) == [1, 3, 6]
    written.write(build, "Error: needle")
    assert found(search, build) == [1, 3, 6, 9]
    assert found(logs_search.find_errors(build), build) == [9]


def test_a_batch_that_has_grown_is_counted_once(build: Build) -> None:
    """It was written, the database was cut off before it said so, and it was written again with what had come meanwhile."""
    search = logs_search.find(build, "needle")
    assert found(search, build) == [1, 3, 6]
    last = build.log_batches.latest("first_line")
    record = last.records.split("\n")[1]
    build.log_batches.filter(pk=last.pk).update(line_count=5, records=f"{last.records}{record}\n")
    Build.objects.filter(pk=build.pk).update(log_lines=9)
    assert found(search, build) == [1, 3, 6, 9]
