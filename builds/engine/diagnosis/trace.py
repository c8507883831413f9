"""Reads stack traces: where in the author's own code something failed, and whether a tool itself crashed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.engine.diagnosis.rule import Read, find_first
from builds.engine.findings import Severity, kind
from builds.errors import Fault

PYTHON_START = re.compile(r"^\s*(?:\+ Exception Group )?Traceback \(most recent call last\)|^╭─+ Traceback|^Fatal Python error:")
# What Python draws before each line of an exception group.
GROUPED = re.compile(r"^\s*(?:\+ )?(?:\| +)+|^\s*\+ (?=Exception)")
# The line that ends a trace of Python: the exception, and what it says.
RAISED = re.compile(r"^(?P<kind>(?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:(?P<colon>:)(?: (?P<reason>.*))?)?$")
KNITR = re.compile(r"^Quitting from (?P<file>\S[^:]*):(?P<line>\d+)-\d+")  # newer versions print it after the error
# Lines that give a place before the line that says what is wrong.
PLACES = (
    re.compile(r"^\s*File \"(?P<file>[^\"]+)\", line (?P<line>\d+)"),
    re.compile(r"^File (?P<file>[^\s:]+):(?P<line>\d+)(?:, in .*)?$"),  # IPython
    re.compile(r"^│ (?P<file>[^\s:]+):(?P<line>\d+) in "),  # rich
    re.compile(r"^Quitting from lines (?P<line>\d+)-\d+:? (?:\[[^\]]*\] )?\((?P<file>[^)]+)\)"),  # knitr
    KNITR,
    re.compile(r"^@ (?P<file>[^\s:]+\.\w+):(?P<line>\d+)$"),  # Julia, run by Quarto
    re.compile(r"\((?:from )?(?P<file>[\w./-]+\.[Rr](?:md)?)#(?P<line>\d+)\)"),
    re.compile(r"^(?:file://)?(?P<file>[^\s:]+\.[mc]?[jt]s):(?P<line>\d+)$"),  # Node.js
    re.compile(r"^(?P<file>[\w./-]+\.\w+):(?P<line>\d+):\d+:$"),  # gfortran
)
# A program names the notebook that it runs before what goes wrong in it.
NOTEBOOK = re.compile(
    r"(?:Converting notebook |Executing:? (?:notebook )?|Error while converting |Input Notebook: +|processing file: |^\[ *\d+/\d+\] )"
    r"['\"]?(?P<file>[^\s'\"]+\.(?:ipynb|qmd|[Rr]md|md))"
)
# None of those patterns matches a line without one of these.
MAYBE_PATTERN = (
    r"Traceback|Fatal Python|File |Quitting |^@ |\.[Rr]\w*#|\.[mc]?[jt]s:\d+$|^│"
    r"|:\d+:$|[Nn]otebook|processing file|^\[ *\d+/|Executing|Error while"
)
HOST = re.compile(r"https?://(?P<host>[\w-]+(?:\.[\w-]+)+)")
JS_FRAME = re.compile(r"^\s+at (?:.*\()?(?:file://)?(?P<file>[^\s():]+):(?P<line>\d+):\d+\)?$")
JULIA_FRAME = re.compile(r"(?:^\s+@ (?:\S+ )?|in expression starting at )(?P<file>[^\s:]+):(?P<line>\d+)")
REQUIRED = re.compile(r"^- (?P<file>\S+\.\w+)$")
RUST_FRAME = re.compile(r"^\s*--> (?P<file>[^\s:]+):(?P<line>\d+):\d+$")
# The line of a cell at which IPython points.
CELL_LINE = re.compile(r"^-+>\s*\d+ (?P<quoted>\S.*)$")
CELL_RAISED = re.compile(r"^(?P<reason>[\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Iteration): .+|Error in .+)$")
RULED = re.compile(r"^-{10,}$")
ONE_LINE = 2  # between two rules
FOREIGN = re.compile(
    r"^[/~<]|^node:|^\./(?=\w+\.jl)|\.p(?:yx|xd|xi)$|(?:^|/)(?:site-packages|dist-packages|node_modules|lib/python[\d.]*|\.pixi|\.venv)/|^_build/"
)
MYST = re.compile(r"/mystmd_py/|myst\.cjs")

CRASHED = kind(
    "tool-crashed",
    Severity.BROKEN,
    "A tool crashed with an internal error, which is not the manuscript's: {kind} {reason}.",
    advice="Retry the submission. If it fails again, report the lines of the log to the operators: an unusual part of the "
    "manuscript may be the reason.",
    fault=Fault.UNKNOWN,
    examples=("TypeError: Cannot read properties of undefined (reading 'length')\n    at visit (/x/mystmd_py/myst.cjs:1:2)",),
)

# Two sets of rules lead to it: myst runs code, and so do other programs.
CODE_FAILED = kind(
    "code-failed",
    Severity.BROKEN,
    "The code in {file} failed: {reason}.",
    advice="Run the notebook from a fresh clone, fix what fails, then submit again.",
)


class Trace:
    """What the lines before an error say about it: the place in the author's own code, the notebook that is run, a host,
    and whether it read an environment variable.

    ``raised`` has the exception, if the line that was seen last ends a trace of Python.
    """

    def __init__(self) -> None:
        self.notebook = ""
        self.host = ""
        self.reads_environment = False
        self.raised: dict[str, str] = {}
        self._place: dict[str, str] = {}
        self._is_of_myst = False
        self._is_open = False
        self._is_grouped = False

    @property
    def is_in_the_middle(self) -> bool:
        """Whether the next line may belong to a trace, whatever it is."""
        return self._is_open or self._is_grouped

    def see(self, line: str, *, is_marked: bool) -> str:
        """Check a line of the log, in which paths in the manuscript's folder are relative. Returns it without a frame around it.

        ``is_marked`` says that ``MAYBE_PATTERN`` matches it.
        """
        self.raised = {}
        if not self.is_in_the_middle and not is_marked:
            return line
        if PYTHON_START.search(line):
            self._is_grouped = "Group" in line or (self._is_grouped and line.startswith((" ", "|")))
            self._place, self._is_of_myst, self._is_open, self.host = {}, False, True, ""
            self.reads_environment = False
            return line
        line = GROUPED.sub("", line) if self._is_grouped else line
        if found := NOTEBOOK.search(line):
            self.notebook = found["file"]
        if self._is_open and (named := HOST.search(line)):
            self.host = named["host"]
        self.reads_environment |= self._is_open and "environ" in line
        if found := next((match for pattern in PLACES if (match := pattern.search(line))), None):
            self._is_of_myst = bool(MYST.search(found["file"]))
            if not FOREIGN.search(found["file"]):
                self._place = found.groupdict()
        elif self._is_open and line.strip() and not line[:1].isspace() and not line.startswith(("│", "╰", "|", "+", "^")):
            self._is_open = False
            raised = RAISED.search(line)
            self.raised = {name: value or "" for name, value in raised.groupdict().items()} if raised else {}
        return line

    def take(self) -> Read:
        """The place for the error that ends the trace."""
        place, crashed = self._place, self._is_of_myst
        self._place, self._is_of_myst = {}, False
        return Read(CRASHED if crashed and not place else None, place)


def read_stack(lines: Sequence[str]) -> Read:
    """The author's place in the stack of an error in JavaScript; without one, the tool itself has crashed."""
    read = read_frames(lines)
    return read if read.groups else Read(CRASHED)


def read_frames(lines: Sequence[str]) -> Read:
    """The author's place in the stack after an error in JavaScript, Julia or Rust. The first is the nearest."""
    for pattern in (JS_FRAME, JULIA_FRAME, RUST_FRAME):
        frames = (found for line in lines if (found := pattern.search(line)))
        if own := next((found for found in frames if not FOREIGN.search(found["file"])), None):
            return Read(None, {"file": own["file"], "line": own["line"]})
    return Read()


def read_required(lines: Sequence[str]) -> Read:
    """The author's file that needs a module which Node.js can't find."""
    found = (match for line in lines if (match := REQUIRED.search(line)))
    own = next((match for match in found if not FOREIGN.search(match["file"])), None)
    return Read(None, {"file": own["file"]} if own else {})


def read_cell(lines: Sequence[str]) -> Read:
    """The error that ended a cell, and the line of the cell at which it points."""
    read = read_run_cell(lines)
    return read if "reason" in read.groups else Read()


def read_run_cell(lines: Sequence[str]) -> Read:
    """The same for a cell that another program ran, which prints the cell between two rules. Its only line is the one that failed."""
    groups: dict[str, str] = {}
    ruled = [number for number, line in enumerate(lines) if RULED.search(line)]
    if len(ruled) > 1 and ruled[1] - ruled[0] == ONE_LINE:
        groups["quoted"] = lines[ruled[0] + 1].strip()
    if pointed := find_first(CELL_LINE, lines):
        groups["quoted"] = pointed["quoted"]  # those after the first are in code that the cell calls
    if raised := find_first(CELL_RAISED, lines):
        groups["reason"] = raised["reason"]
    return Read(None, groups)
