"""Failures for which no rule has a reason: what the exit code and the last lines say."""

from __future__ import annotations

import pytest

from builds.engine.diagnosis import Clues
from builds.errors import BuildError, Fault


def failure(*lines: str, exit_code: int = 1, by_author: bool = True) -> BuildError:
    clues = Clues(within="paper")
    for number, line in enumerate(lines, 1):
        clues.see(number, "stdout", line)
    return clues.failure(exit_code=exit_code, command="make", by_author=by_author)


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ([], "command-silent", "`make` ended with exit code 1 and printed nothing at all."),
        (["", "  "], "command-silent", "printed nothing at all."),
        (
            ["Step 1", "Step 2: 4211 rows"],
            "command-gave-no-reason",
            "printed no error. Its last lines are: Step 1 / Step 2: 4211 rows.",
        ),
        (["🔌 Started"], "command-gave-no-reason", "Its last lines are: 🔌 Started."),
        (
            ["Reading", "Config x is missing, copy y first."],
            "command-complained",
            "and complained: Config x is missing, copy y first.",
        ),
        (["Expected 120 but got 118, stopping."], "command-complained", "complained: Expected 120"),
    ],
)
def test_an_authors_own_command_that_gives_no_reason_is_the_authors(lines: list[str], code: str, said: str) -> None:
    error = failure(*lines)
    assert (error.code, error.fault) == (code, Fault.MANUSCRIPT)
    assert said in error.sentence
    assert error.advice


@pytest.mark.parametrize("lines", [[], ["Step 1"], ["The thing is missing"]])
def test_a_command_that_jobsite_chose_stays_unknown(lines: list[str]) -> None:
    error = failure(*lines, by_author=False)
    assert (error.code, error.fault) == ("unexplained", Fault.UNKNOWN)


def test_the_most_telling_line_of_an_unknown_failure_is_named() -> None:
    error = failure("The thing is missing", "one", "two", "three", "four", by_author=False)
    assert error.log_line == 1
    assert "The thing is missing / two / three / four" in error.sentence


@pytest.mark.parametrize(
    "line",
    [
        "Residual standard error: 3.2 on 40 degrees of freedom",
        "mean squared error = 0.2",
        "Wrote the error bars",
        "12 files checked, 0 errors",
        "FutureWarning: x must be a list",
        "INFO the limit is not set",
    ],
)
def test_words_of_statistics_and_reports_are_no_complaints(line: str) -> None:
    assert failure(line).code == "command-gave-no-reason"


def test_of_complaints_near_to_each_other_the_first_is_told() -> None:
    error = failure("cannot open x", "done with that", "one", "two", "three", "table is missing", "could not go on", "bye")
    assert (error.log_line, error.code) == (6, "command-complained")


def test_a_place_in_the_complaint_is_the_causes() -> None:
    error = failure("data/check.txt:12: the value is missing")
    assert (error.file, error.line, error.log_line) == ("paper/data/check.txt", 12, 1)


@pytest.mark.parametrize("exit_code", [139, -11, 134, 135, 132, 136])
def test_a_command_that_crashed_is_not_the_authors_fault(exit_code: int) -> None:
    error = failure("⛔️ a.md:7 unknown directive: x", "Sampling", exit_code=exit_code)
    assert (error.code, error.fault) == ("tool-crashed", Fault.UNKNOWN)


@pytest.mark.parametrize(("exit_code", "name"), [(143, "SIGTERM"), (-15, "SIGTERM"), (141, "SIGPIPE")])
def test_a_command_that_a_signal_ended_says_which(exit_code: int, name: str) -> None:
    error = failure("Sampling", exit_code=exit_code)
    assert (error.code, error.fault) == ("command-ended", Fault.MANUSCRIPT)
    assert f"was ended by the signal {name}: Sampling." in error.sentence


@pytest.mark.parametrize(("exit_code", "said"), [(124, "`timeout`"), (126, "can't be run"), (127, "not installed")])
def test_an_exit_code_that_has_a_meaning_is_explained(exit_code: int, said: str) -> None:
    assert said in failure(exit_code=exit_code).sentence


def test_an_exit_code_without_a_meaning_is_no_signal() -> None:
    assert "exit code 200" in failure(exit_code=200).sentence


def test_a_line_that_only_says_that_a_program_failed_gives_way_to_a_complaint() -> None:
    echo = "make: *** [Makefile:4: x] Error 1"
    assert failure("Step 1", echo).code == "make-failed"
    assert (failure("Step 1", "The table has a wrong column", echo).log_line, failure("Step 1", echo).log_line) == (2, 2)
    assert failure("npm error Lifecycle script `x` failed with error:", "npm error code 4").code == "called-program-failed"


def test_what_a_rule_reads_goes_before_a_complaint() -> None:
    assert failure("ValueError: x is negative", "could not go on").code == "python-error"


def test_a_long_complaint_is_cut() -> None:
    assert len(failure("it is missing " * 1000).sentence) < 800
