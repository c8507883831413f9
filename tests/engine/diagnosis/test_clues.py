"""Log lines of failed builds, and the cause that an author sees."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from builds.engine.diagnosis import Clue, Clues
from builds.engine.diagnosis.clues import MAX_CLUES
from builds.engine.diagnosis.rule import Fact, Rule, Weight
from builds.engine.diagnosis.rule import rule as make_rule
from builds.engine.diagnosis.rules import RULES
from builds.engine.findings import Kind
from builds.engine.findings.kind import KINDS
from builds.errors import BuildError, Fault, LimitHit
from builds.lifecycle.retrying import TRANSIENT

FOLDER = Path("/w/repository")


def failure(*lines: str, exit_code: int = 1, role: str = "") -> BuildError:
    clues = Clues(FOLDER)
    for number, line in enumerate(lines, 1):
        clues.see(number, "stderr", line)
    return clues.failure(exit_code=exit_code, command="myst build", role=role)


def see(lines: str, **options: Any) -> list[Clue]:
    """The clues of some lines."""
    found = Clues(FOLDER, **options)
    for number, line in enumerate(lines.split("\n"), 1):
        found.see(number, "stderr", line)
    return found.all


@pytest.mark.parametrize(
    ("lines", "sentence", "code"),
    [
        (
            ["Error: Unable to read config file /w/repository/myst.yml as YAML", "  bad indentation (3:5)"],
            "myst.yml can't be read: line 3 is not indented like the lines around it.",
            "yaml-indentation",
        ),
        (["Error: Unable to read config file myst.yml as YAML"], "myst.yml can't be read as YAML.", "project-file-not-yaml"),
        (
            ["\x1b[31m⛔️ myst.yml 'config' must be object\x1b[0m"],
            "myst.yml is not a MyST project file: its content must be object.",
            None,
        ),
        (['⛔️ a.md:7 Cannot find image "x.png"'], "a.md shows the image x.png, which is not in the repository.", "image-missing"),
        (
            ["⛔️ a.md:7:1 unknown directive: foo"],
            "a.md uses the directive 'foo' on line 7, which MyST does not know",
            "directive-unknown",
        ),
        (
            ["× lock-file not up-to-date with the workspace"],
            "the file pixi.lock does not match the pixi manifest.",
            "pixi-lock-outdated",
        ),
        (["sh: 1: quarto: not found"], "the program quarto, which the build calls, is not installed.", "program-missing"),
        (["sh: 1: pixi: not found"], "a command of the build could not find pixi.", "pixi-not-found"),
        (["! LaTeX Error: File `x.sty' not found"], "this PDF needs the LaTeX file x.sty", "latex-file-missing"),
        (
            ["Error: request to https://x/t.zip failed, reason: connect ECONNREFUSED 127.0.0.1:9"],
            "https://x/t.zip, which an export needs, could not be fetched: builds run without network access.",
            "template-unreachable",
        ),
        (["error: unknown image format", '  image("files/a-' + "0" * 32 + '.tif")'], "Typst can't read the image a.tif: ", None),
        (["all is well"], "`myst build` ended with exit code 1: all is well", "unexplained"),
        ([], "`myst build` ended with exit code 1", "unexplained"),
    ],
)
def test_a_line_becomes_a_sentence_for_the_author(lines: list[str], sentence: str, code: str | None) -> None:
    error = failure(*lines)
    assert error.sentence.startswith(f"Failed to build the repo files: {sentence}")
    assert code is None or error.code == code


EXAMPLES = [
    (rule, example, is_measured)
    for each in RULES
    for rule, is_measured in ((each, True), *([(each.otherwise, False)] if each.otherwise else []))
    for example in rule.examples
]


@pytest.mark.parametrize(
    ("rule", "example", "is_measured"), EXAMPLES, ids=[f"{rule.kind.code}: {line}" for rule, line, _ in EXAMPLES]
)
def test_an_example_of_a_kind_leads_to_it(rule: Rule, example: str, is_measured: bool) -> None:
    found = see(example, is_fact=lambda fact, programs: is_measured)
    sentences = {each.code: each.sentence for each in found}
    assert rule.kind.code in sentences
    assert sentences[rule.kind.code].endswith((".", "…")) or "reason}" in rule.text or "first}" in rule.text
    assert "None" not in sentences[rule.kind.code]


MISTAKES = [(known, example) for known in KINDS.values() if known.code.startswith("yaml-") for example in known.examples]


@pytest.mark.parametrize(("known", "example"), MISTAKES, ids=[f"{known.code}: {example[-20:]}" for known, example in MISTAKES])
def test_an_example_of_a_mistake_in_yaml_leads_to_its_kind(known: Kind, example: str) -> None:
    assert known.code in [each.code for each in see(example)]


def test_every_rule_has_an_example_and_a_code_that_can_be_stored() -> None:
    kinds = [rule.kind for each in RULES for rule in (each, each.otherwise) if rule]
    assert not [known.code for known in kinds if not KINDS[known.code].examples]
    assert not [known.code for known in kinds if len(known.code) > 40]


def test_rules_with_one_code_are_of_one_kind() -> None:
    """Otherwise the severity of a finding would depend on which module is imported first."""
    with pytest.raises(ValueError, match="'code-failed' is broken, not notice"):
        make_rule(Weight.THROWN, "code-failed", "x", "Another text.", examples=())
    one_code = [each.kind for each in RULES if each.kind.code == "nb-not-json"]
    assert {each.text for each in one_code} == {KINDS["nb-not-json"].text}
    assert len(one_code) == 2


def test_what_is_the_services_or_is_retried_keeps_the_code_of_its_class() -> None:
    for each in RULES:
        for rule in (each, each.otherwise):
            if rule and (rule.error.fault in (Fault.SERVICE, Fault.OUTSIDE) or rule.error is LimitHit):
                assert rule.kind.code == rule.error.code


OURS = [
    ("OSError: [Errno 28] No space left on device", Fact.DISK_IS_FULL, "limit-hit", "disk-full"),
    ("× error sending request for url (https://x/y)", Fact.HOST_IS_DOWN, "packages-not-fetched", "packages-unreachable"),
    (
        "HTTPError: 403 Client Error: Forbidden for url: https://data.example.org/x.csv",
        *(Fact.HOST_WAS_ASKED, "host-answer-said", "host-failed"),
    ),
    (
        "SSLError: HTTPSConnectionPool(host='data.example.org', port=443): certificate verify failed",
        *(Fact.HOST_WAS_ASKED, "host-certificate-said", "host-failed"),
    ),
    ("curl: (56) CONNECT tunnel failed, response 403", Fact.HOST_WAS_REFUSED, "proxy-refusal-said", "host-not-allowed"),
    ("env: 'node': No such file or directory", Fact.PROGRAM_IS_MISSING, "node-not-found", "tool-missing"),
    ("/bin/sh: 1: pixi: not found", Fact.PROGRAM_IS_MISSING, "pixi-not-found", "tool-missing"),
    ("sh: 1: typst: not found", Fact.PROGRAM_IS_MISSING, "typst-not-found", "tool-missing"),
    ("sh: latexmk: command not found", Fact.PROGRAM_IS_MISSING, "latex-not-found", "tool-missing"),
]


@pytest.mark.parametrize(("line", "fact", "said", "measured"), OURS)
def test_a_line_is_blamed_on_the_service_only_if_that_was_measured(line: str, fact: Fact, said: str, measured: str) -> None:
    true: set[Fact] = set()
    for code in (said, measured):
        found = Clues(FOLDER, is_fact=lambda about, programs: about in true)
        found.see(1, "stderr", line)
        assert found.failure(exit_code=1, command="x").code == code
        true.add(fact)


def test_no_rule_blames_the_service_or_another_host_for_words_alone() -> None:
    """Nor does one choose a cause that is retried automatically."""

    def is_said(rule: Rule) -> bool:
        return rule.error.fault in (Fault.SERVICE, Fault.OUTSIDE) or rule.kind.code in TRANSIENT

    assert not [rule.text for rule in RULES if is_said(rule) and (rule.fact is None or rule.otherwise is None)]
    assert not [rule.text for rule in RULES if rule.otherwise and is_said(rule.otherwise)]


def test_of_two_lines_that_weigh_the_same_the_measured_one_is_the_cause() -> None:
    found = Clues(FOLDER, is_fact=lambda fact, programs: fact is Fact.DISK_IS_FULL)
    for number, line in enumerate(("sh: 1: pixi: not found", "No space left on device"), 1):
        found.see(number, "stderr", line)
    assert found.failure(exit_code=1, command="x").code == "disk-full"


def test_the_heaviest_line_is_the_cause_and_its_place_is_kept() -> None:
    error = failure("⛔️ a.md:7 something is odd", "Error: it broke", "First TOC item must be a file", "⛔️ b.md:1 more")
    assert (error.log_line, error.code) == (3, "toc-begins-without-page")
    assert failure("⛔️ /w/repository/a.md:7 something is odd").line == 7


def test_a_command_without_its_export_is_explained_by_a_line_about_that_export() -> None:
    lines = ["! LaTeX Error: File `x.sty' not found", "⛔️ index.md 'format' invalid value 'pfd' - must be one of pdf"]
    assert "x.sty" in failure(*lines, exit_code=0, role="pdf").sentence
    assert "pfd" in failure(*lines, exit_code=0, role="meca").sentence
    assert "`myst build` did not make the export" in failure(exit_code=0, role="meca").sentence


def test_typst_s_message_gets_the_place_of_mysts_first_complaint() -> None:
    error = failure(
        "⛔️ index.md:3 Undefined control sequence: \\x at position 1: \\x",
        "error: unknown variable: x",
        "  ┌─ _build/temp/mystX/paper.typ:9:1",
        exit_code=0,
        role="pdf",
    )
    assert error.sentence.endswith(
        "Typst reports: unknown variable: x. MyST's first complaint about a formula: a formula on line 3 of index.md uses \\x, which MyST "
        "does not know, so it is not printed as written."
    )
    assert (error.file, error.line) == ("index.md", 3)


def test_a_killed_command_is_blamed_on_memory_unless_the_kernel_reports_memory_kills() -> None:
    killed, guessed = (Clues(kernel_reports=known).failure(exit_code=137, command="make") for known in (True, False))
    assert (killed.code, guessed.code) == ("build-failed", "limit-hit")


@pytest.mark.parametrize(
    "line", ["⛔ " * 8000, "⛔" + " " * 16_000, "⛔ a " + "⛔ a.b " * 3000], ids=["signs", "spaces", "files"]
)
def test_a_crafted_line_takes_no_quadratic_time(line: str) -> None:
    """Eight times as much of it takes less than 32 times as long (a rule of quadratic time: 64 times)."""

    def seconds(characters: int) -> float:
        started_at = time.process_time()
        for rule in RULES:
            rule.pattern.search(line[:characters])
        return time.process_time() - started_at

    assert seconds(2000) < 32 * max(min(seconds(250) for _ in range(3)), 0.0005)


PYTHON = """Traceback (most recent call last):
  File "/w/repository/scripts/plot.py", line 12, in <module>
    main()
  File "/usr/lib/python3/site-packages/pandas/io.py", line 99, in read
    raise
{error}"""


@pytest.mark.parametrize(
    ("lines", "code", "file", "line"),
    [
        (PYTHON.format(error="ValueError: x is negative"), "python-error", "scripts/plot.py", 12),
        (PYTHON.format(error="ModuleNotFoundError: No module named 'x'"), "python-module-missing", "scripts/plot.py", 12),
        ("Error in read.csv(x) (from analysis.R#7) : cannot open file", "r-error", "analysis.R", 7),
        ("./make.sh: line 3: cd: results: No such file or directory", "shell-error", "make.sh", 3),
        ("ValueError: a line without a trace", "python-error", "", None),
    ],
)
def test_a_trace_names_the_authors_own_code(lines: str, code: str, file: str, line: int | None) -> None:
    [clue] = see(lines)
    assert (clue.code, clue.file, clue.line, clue.fault) == (code, file, line, Fault.MANUSCRIPT)


@pytest.mark.parametrize(
    "lines",
    [
        "TypeError: Cannot read properties of undefined (reading 'x')\n    at visit (/opt/x/mystmd_py/myst.cjs:1:2)",
        "RangeError: Maximum call stack size exceeded",
        "Traceback (most recent call last):\n  File \"/x/site-packages/mystmd_py/main.py\", line 9, in main\nKeyError: 'PATH'\nKeyError: x",
        "thread 'main' panicked at crates/x.rs:1:2:",
    ],
)
def test_a_crash_of_a_tool_is_not_the_manuscripts_fault(lines: str) -> None:
    error = failure(*lines.split("\n"))
    assert (error.fault, error.code) == (Fault.UNKNOWN, "tool-crashed")


def test_what_no_line_explains_is_unknown_with_the_last_lines() -> None:
    error = failure("one", "Update available 1.0 → 1.1", "│ Run npm install │", "two", "Run `npm i -g mystmd` to update", "three")
    assert (error.fault, error.code, error.log_line) == (Fault.UNKNOWN, "unexplained", 6)
    assert error.sentence.endswith("ended with exit code 1: one / two / three.")


def test_a_line_is_taken_for_noise_by_what_is_shown_of_it() -> None:
    assert failure("one", "\x07│ the table fell", "\x07 ").sentence.endswith("ended with exit code 1: one.")


def test_our_own_project_file_is_never_named() -> None:
    assert not see(
        "⛔️ _jobsite.yml 'config' missing required key: version (at _jobsite.yml)\n⚠️  _jobsite.yml 'site' extra key ignored: x"
    )


def test_a_complaint_is_kept_once_whatever_the_number_of_exports() -> None:
    found = see("⛔️ a.md:7 unknown directive: x\n⛔️ a.md:9 unknown directive: x\n⛔️ a.md:7 unknown directive: x")
    assert [(clue.line, clue.number) for clue in found] == [(7, 1), (9, 2)]


def test_a_flood_of_complaints_does_not_hide_why_the_build_failed() -> None:
    lines = [f"⛔️ a.md:{number} unknown directive: x" for number in range(1, 2000)]
    assert failure(*lines, "First TOC item must be a file").code == "toc-begins-without-page"


def test_when_enough_complaints_are_kept_others_are_left_out_and_errors_are_not() -> None:
    found = Clues(FOLDER)
    lines = [f"⛔️ a.md:{number} unknown directive: x" for number in range(1, MAX_CLUES + 20)]
    assert len(found.see_many(1, "stderr", lines)) == MAX_CLUES
    assert found.see(9000, "stderr", "⛔️ b.md:1 unknown directive: y") is None
    assert [
        clue.code for clue in found.see_many(9001, "stderr", ["⛔️ c.md:1 unknown directive: z", "sh: 1: pixi: not found"])
    ] == ["pixi-not-found"]
    assert [clue.number for clue in found.all] == [*range(1, MAX_CLUES + 1), 9002]
    assert found.failure(exit_code=1, command="x").code == "pixi-not-found"


def test_a_file_that_a_tool_made_is_not_the_authors() -> None:
    [clue] = see('⛔️ _build/temp/mystX/article.xml:9 Unhandled JATS conversion for node of "raw"')
    assert (clue.file, clue.line) == ("", None)


def test_an_export_that_was_made_in_another_way_is_not_broken() -> None:
    found = Clues(FOLDER)
    found.see(1, "stderr", "error: unknown variable: breakableDefault")
    broken, notice = (
        next(found.findings(made=made, unmade=unmade)) for made, unmade in ((["meca"], ["pdf"]), (["pdf"], ["meca"]))
    )
    assert (broken.is_broken, broken.export, notice.is_broken) == (True, "pdf", False)


def test_a_hosts_failure_names_the_host_and_is_not_retried() -> None:
    asked: list[tuple[str, ...]] = []

    def is_fact(fact: Fact, about: tuple[str, ...]) -> bool:
        asked.append(about)
        return fact is Fact.HOST_WAS_ASKED

    found = Clues(FOLDER, is_fact=is_fact)
    found.see(1, "stderr", "urllib.error.HTTPError: HTTP Error 503: Service Unavailable https://Data.example.org/x")
    error = found.failure(exit_code=1, command="x")
    assert (error.fault, error.code, asked) == (Fault.OUTSIDE, "host-failed", [("data.example.org",)])
    assert "Data.example.org, which answered with the status 503" in error.sentence
    assert error.code not in TRANSIENT
