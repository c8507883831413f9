"""Looking through a whole log: what is found, and which of it."""

from __future__ import annotations

import pytest

from builds import logs_search
from builds.models import Build
from tests.desk import written

pytestmark = pytest.mark.django_db


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
    assert list(logs_search.find(build, text)) == lines


def test_lines_are_found_in_every_batch() -> None:
    build = written.claimed()
    written.fill(build, (f"{number}{' needle' if number % 700 == 0 else ''}" for number in range(1, 20_001)), batch=300)
    assert list(logs_search.find(build, "needle")) == list(range(700, 20_001, 700))


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
    assert list(logs_search.find_errors(build)) == [2]


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
    assert list(logs_search.find_errors(build)) == []


def test_what_the_service_says_of_an_end_is_an_error() -> None:
    build = written.claimed()
    written.write(build, "exit code 0 after 1 s", "exit code 1 after 1 s", "ended by signal 9 after 1 s", stream="service")
    written.write(build, "Failed to build the repo files: x", stream="service")
    assert list(logs_search.find_errors(build)) == [2, 3, 4]


@pytest.mark.parametrize(("cause", "lines"), [(1, [1, 2]), (2, [2]), (3, [2, 3]), (None, [2])])
def test_the_line_of_the_cause_is_an_error(cause: int | None, lines: list[int]) -> None:
    build = written.claimed()
    written.write(build, "a", "Error: b", "c")
    build.cause_log_line = cause
    assert list(logs_search.find_errors(build)) == lines


def test_of_many_some_are_told_with_their_place() -> None:
    build = written.claimed()
    written.fill(build, ["x"] * 5000)
    found = logs_search.find(build, "x")
    some = logs_search.some(found, start=4000)
    assert (some.total, some.before, some.lines) == (5000, 3999, list(range(4000, 5001)))
    some = logs_search.some(found, before=4000)
    assert (some.before, some.lines) == (1999, list(range(2000, 4000)))
    assert logs_search.some(found, before=1).lines == []


def test_a_log_that_has_grown_is_looked_through_anew(build: Build) -> None:
    assert len(logs_search.find(build, "needle")) == 3
    written.write(build, "Error: needle")
    build.refresh_from_db()
    assert list(logs_search.find(build, "needle")) == [1, 3, 6, 9]
    assert list(logs_search.find_errors(build)) == [9]
