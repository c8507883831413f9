"""A rule of the diagnosis: a pattern, and the kind of finding that a line which matches it leads to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, IntEnum, auto

from builds.engine.findings import Kind, Severity, kind
from builds.engine.findings.catalogue import exports
from builds.engine.findings.kind import KINDS
from builds.errors import BuildError, CommandFailed

# Its kinds are registered when it is imported: a line of output can lead to one of them too.
CATALOGUE = exports

# Only the first sign of a line, and all of the space after it: otherwise a line of signs or spaces takes quadratic time.
STOP = r"^[^⛔]*⛔\ufe0f?\s+(?!\s)"
SIGN = r"^[^⛔⚠]*[⛔⚠]\ufe0f?\s+(?!\s)"
FILE = r"(?P<file>\S+?|.+?\.\w{1,5})"
LINE = r"(?::(?P<line>\d+))?(?::\d+)?"
WORD = r"[\w./+-]+"

# Where the author's own code, and what it needs, is written down.
CODE = re.compile(r"(?i)\.(?:r|rmd|qmd|py|jl|js|mjs|cjs|sh|bash|pl|rb|m|ipynb)$|(?:^|/)(?:Makefile|Snakefile)$")
MANIFESTS = re.compile(r"(?:^|/)(?:pixi\.toml|pyproject\.toml|requirements[\w.-]*\.txt|environment\.ya?ml|DESCRIPTION)$")
CALLS = re.compile(r"(?i)\.(?:sh|bash)$|(?:^|/)(?:pixi\.toml|pyproject\.toml|package\.json|Makefile|Snakefile)$")

ANY: tuple[str, ...] = ()
PDF = ("pdf",)
BOTH_PDFS = ("pdf", "typst")
MECA = ("meca",)
SITE = ("page-content",)
OTHER = ("docx",)

FIX_CONFIG = "Correct the project file, check it with `myst build` on your machine, then submit again."
VENDOR = "Put the template into the repository and name its folder in the export, or retry when its host is reachable again."
NO_NETWORK = "Put the files that are fetched from the web into the repository: builds run without network access."
NO_LATEX = "Use a Typst template for the PDF, or ask the operators to install what is missing."
SMALLER = "Make the build smaller (fewer or smaller notebooks and resources), or ask the journal's staff to raise the limit."
ADD_FILE = "Add the file to the repository or correct its name (upper and lower case matter), then submit again."
FIX_FILE = "Correct that file, check it with `myst build` on your machine, then submit again."
OWN = "Run the same command on your machine, fix what it reports, then submit again."
ADD_PACKAGE = "Add the package to the build's own environment (such as the pixi manifest), then submit again."
FIX_PIXI = "Run `pixi run build-meca` on a Linux machine with a fresh clone, fix what it reports, then submit again."


class Weight(IntEnum):
    """How much a line explains. The heaviest line of a log is the cause."""

    ECHO = 0  # a consequence of another line; useful only if that line is missing
    COMPLAINT = 1  # something is wrong, but the build continues
    THROWN = 2  # ended a program or an export, with a message of its own
    BLOCKED = 3  # prevents one export
    FATAL = 4  # ends the command


class Fact(Enum):
    """What Jobsite has to find out itself before it believes a line: a program can print anything."""

    DISK_IS_FULL = auto()  # the disk with the workspace
    HOST_IS_DOWN = auto()  # a listed host, as the proxy met it
    HOST_WAS_REFUSED = auto()  # by the proxy
    HOST_WAS_ASKED = auto()  # through the proxy, which sees no more of an encrypted answer
    PROGRAM_IS_MISSING = auto()  # none of the rule's programs is on the build's PATH


@dataclass(frozen=True)
class Read:
    """What the lines after a complaint say: words for its text, and a more specific kind, or another rule, if they tell one.

    ``is_nothing`` says that the complaint means nothing without what these lines lack.
    """

    kind: Kind | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    rule: Rule | None = None
    is_nothing: bool = False


def find_first(pattern: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    """The match in the first of ``lines`` in which ``pattern`` is found."""
    return next((match for line in lines if (match := pattern.search(line))), None)


def read_first(pattern: re.Pattern[str]) -> Callable[[Sequence[str]], Read]:
    """A reader of the first line in which ``pattern`` is found: it takes its named groups."""

    def read(lines: Sequence[str]) -> Read:
        found = find_first(pattern, lines)
        return Read(None, found.groupdict() if found else {})

    return read


@dataclass(frozen=True)
class Rule:
    """A line that matches ``pattern`` is a finding of ``kind``, whose text is formatted with the pattern's named groups.

    If ``follow`` matches one of the next ``reads`` lines, its groups are added; otherwise ``else_`` is the text. ``reader`` does the
    same with all of those lines together. ``roles`` are the exports that the line explains (all, if empty). ``line_offset`` is added to
    the group ``line``. ``error`` is raised, with the kind's code, if the line explains a failure.

    ``searched`` matches the files in which the place is searched for, if the line names none: by default the pages. With ``in_notebook``,
    the line is about the notebook that a program has said to run.

    A rule with ``fact`` holds only if that fact was measured; otherwise ``otherwise`` holds. Each rule whose error is the fault of the
    service or of another host has one.
    """

    pattern: re.Pattern[str]
    kind: Kind
    text: str
    weight: Weight
    error: type[BuildError] = CommandFailed
    roles: tuple[str, ...] = ANY
    follow: re.Pattern[str] | None = None
    reader: Callable[[Sequence[str]], Read] | None = None
    else_: str = ""
    line_offset: int = 0
    reads: int = 12
    searched: re.Pattern[str] | None = None
    in_notebook: bool = False
    fact: Fact | None = None
    programs: tuple[str, ...] = ()
    otherwise: Rule | None = None
    examples: tuple[str, ...] = ()

    @property
    def is_signed(self) -> bool:
        """Whether it needs one of the signs with which myst begins a complaint."""
        return self.pattern.pattern.startswith((STOP, SIGN))

    @property
    def is_only_a_complaint(self) -> bool:
        """Whether its line alone says all, and never more than that something is wrong."""
        return self.weight <= Weight.COMPLAINT and not self.follow and not self.reader and self.fact is None

    @property
    def only_complains(self) -> bool:
        """Whether its line says that something is wrong, and nothing more."""
        return self.weight is Weight.COMPLAINT and self.is_only_a_complaint


def rule(
    weight: Weight,
    code: str,
    pattern: str,
    text: str,
    error: type[BuildError] = CommandFailed,
    *,
    examples: tuple[str, ...],
    severity: Severity | None = None,
    advice: str = "",
    roles: tuple[str, ...] = ANY,
    follow: str = "",
    reader: Callable[[Sequence[str]], Read] | None = None,
    else_: str = "",
    line_offset: int = 0,
    reads: int = 12,
    searched: re.Pattern[str] | None = None,
    in_notebook: bool = False,
) -> Rule:
    """Make a rule and its kind. ``severity`` is BROKEN by default if the line prevents an export or ends the command.

    Rules can share a code if they have the same severity. An error that is retried automatically, or is the service's, keeps the code of
    its class: ``code`` is empty.
    """
    broken = severity or (Severity.BROKEN if weight >= Weight.BLOCKED else Severity.NOTICE)
    following = re.compile(follow) if follow else None
    made = _kind(code, broken, text, error, advice, examples)
    return Rule(
        re.compile(pattern),
        made,
        text,
        weight,
        error,
        roles,
        following,
        reader,
        else_ or text,
        line_offset,
        reads,
        searched,
        in_notebook,
        examples=examples,
    )


def measured(
    rule: Rule,
    fact: Fact,
    code: str,
    otherwise: str,
    *,
    error: type[BuildError] = CommandFailed,
    advice: str = "",
    programs: tuple[str, ...] = (),
) -> Rule:
    """``rule``, if ``fact`` was measured. If not, the line is a finding with ``code``, the text ``otherwise``, and ``error``.

    Such a line does not outweigh what ended the command: it can be about something that the program coped with.
    """
    known = KINDS.get(code or error.code)
    unproven = _kind(code, (known or rule.kind).severity, otherwise, error, advice, rule.examples)
    weight = Weight.THROWN if rule.weight is Weight.FATAL else rule.weight
    other = replace(rule, kind=unproven, text=otherwise, else_=otherwise, error=error, weight=weight)
    return replace(rule, fact=fact, programs=programs, otherwise=other)


def complaint(
    code: str,
    message: str,
    text: str,
    *,
    examples: tuple[str, ...],
    severity: Severity = Severity.BROKEN,
    advice: str = FIX_FILE,
    follow: str = "",
    reader: Callable[[Sequence[str]], Read] | None = None,
    else_: str = "",
    roles: tuple[str, ...] = ANY,
    line_offset: int = 0,
    weight: Weight = Weight.COMPLAINT,
    names_file: bool = True,
    reads: int = 12,
) -> Rule:
    """A rule for what myst says of a place in a file: its sign, the file, the line if there is one, and ``message``.

    Without ``names_file``, the file is one that myst makes.
    """
    return rule(
        weight,
        code,
        SIGN + (rf"(?:{FILE}{LINE} )?" if names_file else r"(?:\S+ )?") + message,
        text,
        examples=examples,
        severity=severity,
        advice=advice,
        roles=roles,
        follow=follow,
        reader=reader,
        else_=else_,
        line_offset=line_offset,
        reads=reads,
    )


def _kind(code: str, severity: Severity, text: str, error: type[BuildError], advice: str, examples: tuple[str, ...]) -> Kind:
    """The kind with ``code``; a new one, or the registered one with more examples. An empty code stands for that of the class.

    Raises:
        ValueError: the registered one has another severity.
    """
    known = KINDS.get(code or error.code)
    if known and not known.is_shared:
        if known.severity is not severity:
            raise ValueError(f"the code {known.code!r} is {known.severity}, not {severity}")
        made = KINDS[known.code] = replace(known, examples=(*known.examples, *examples))
        return replace(made, advice=advice or made.advice)
    if not code:
        text, advice = _text_of(error), error.advice
    return kind(code or error.code, severity, text, advice=advice, fault=error.fault, examples=examples)


def _text_of(error: type[BuildError]) -> str:
    sentence = (error.__doc__ or "").strip().splitlines()[0].removeprefix("Failed to build the repo files: ")
    return sentence[:1].upper() + sentence[1:]
