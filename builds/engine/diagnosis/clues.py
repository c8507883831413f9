"""Collects the log lines that may explain a failure, and chooses the best explanation."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builds.engine.diagnosis import commands, environment, languages, network
from builds.engine.diagnosis.author_place import by_check, explained, placed, with_callers_place
from builds.engine.diagnosis.clue import START, Clue, author_file
from builds.engine.diagnosis.endings import KILLED, Ending, LastLines, error_of
from builds.engine.diagnosis.first_look import (
    ASKS,
    ENTERS,
    NOISE,
    OURS,
    SIGNIFICANT,
    TRACES,
    TRIGGERS,
    UNREADABLE,
    Line,
    look_at,
    readable,
)
from builds.engine.diagnosis.pages import Pages
from builds.engine.diagnosis.plain_lines import MAX_LINE, PlainLines
from builds.engine.diagnosis.rule import Fact, Rule, Weight
from builds.engine.diagnosis.rules import INDEX
from builds.engine.diagnosis.surplus import without_surplus
from builds.engine.diagnosis.trace import CRASHED, Trace
from builds.engine.findings import Finding, Severity
from builds.engine.process.ceilings import Ceilings
from builds.errors import BuildError, CommandComplained, CommandFailed, LimitHit
from builds.lib.scan import needed

# A line that begins something else: it does not belong to the complaint before it.
BEGINS = re.compile(r"^(?:[⛔⚠]|(?:error|warning|Error): )")
# Nothing makes up for these: myst leaves out the export, or the page.
ALWAYS_BROKEN = (
    "export-format-unknown",
    "export-extension-wrong",
    "export-invalid",
    "nb-not-json",
    "page-unreadable",
    "front-matter-of-wrong-type",
)

# Internal errors of a tool, if its own code raised them. It raises other errors to say what is wrong with the manuscript.
CAN_CRASH = ("python-error", "javascript-error")

# What says more than a line that only says that another program failed.
SAYS_MORE = (CommandComplained.code, CRASHED.code)

# What mystmd adds to the name of a picture that it copies.
COPIED = re.compile(r"-[0-9a-f]{32}(?=\.\w+$)")

# Of those that end something, and of complaints, each: a book with many complaints must not hide why it failed.
MAX_CLUES = 1000


@dataclass
class _Waiting:
    """A clue that the next lines complete."""

    clue: Clue
    lines: list[str] = field(default_factory=list)


class Clues:
    """The lines of a build's output that may explain a failure. Paths in ``folder`` are shown relative to it.

    ``within`` is the folder's path in the repository, and ``pages`` finds the author's places. ``limits`` has the words of
    :attr:`Ceilings.in_words`. ``kernel_reports`` says that the kernel reports when it kills a program for its memory, so a program that
    was killed without a report was killed for another reason. ``is_fact`` measures whether a fact is true now, of the rule's programs or
    of the host that the line names; what nobody measures counts as false. ``checked`` are the findings of our own checks so far: one of
    them may explain what a tool only reports.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        within: str = "",
        pages: Pages | None = None,
        limits: Mapping[str, str] | None = None,
        kernel_reports: bool = False,
        is_fact: Callable[[Fact, tuple[str, ...]], bool] = lambda fact, programs: False,
        checked: Callable[[], Iterable[Finding]] = tuple,
    ) -> None:
        self._checked = checked
        self._is_fact = is_fact
        self._kernel_reports = kernel_reports
        words = {**Ceilings().in_words, **(limits or {})}
        self._words = {"tmp": "", **words, "file_size": words["file"]}
        self._prefix = f"{folder}/" if folder else ""
        self._within = within
        self._pages = pages
        self._clues: dict[tuple[object, ...], Clue] = {}
        self._complaints = 0
        self._waiting: list[_Waiting] = []
        self._last = LastLines()
        self._trace = Trace()
        self._make_folders: dict[str | None, str] = {}  # by the level of a make that another one called
        self._asked = (0, "")  # the line in which a program said which host it asks, and that host

    def see(self, number: int, stream: str, text: str) -> Clue | None:
        """Check a line of the log. Returns what it may explain."""
        return next(iter(self.see_many(number, stream, [text])), None)

    def see_many(self, first: int, stream: str, lines: Sequence[str]) -> list[Clue]:
        """Check consecutive lines of the log, of which ``first`` is the first one's number. Returns what they may explain.

        A complaint that is not kept any more, because there have been so many, is left out.
        """
        said, clues, says_nothing = PlainLines(lines, self._prefix), [], []
        data = said.data if self._complaints < MAX_CLUES else without_surplus(said)
        for at in needed(SIGNIFICANT.matching(data), len(lines), self._is_in_the_middle):
            plain = said[at]
            line = self._looked_at(first + at, lines[at], plain)
            if line.text != plain:
                said.change(at, line.text)
            if found := self._first_rule(first + at, line):
                clue = None if self._is_surplus(found[0]) else self._keep(self._clue(first + at, *found))
                if clue:
                    clues.append(clue)
                if (clue.rule if clue else found[0]).weight is Weight.ECHO:
                    says_nothing.append(at)
        self._last.see(first, said, noise=NOISE.matching(said.shown()), says_nothing=says_nothing)
        return clues

    def _is_in_the_middle(self) -> bool:
        """Whether the next line may belong to those before it, whatever it is."""
        return bool(self._waiting) or self._trace.is_in_the_middle

    def _looked_at(self, number: int, text: str, plain: str) -> Line:
        """Read a line as a part of those around it. ``plain`` is ``text`` without colours and the folder's path. Empty if it is our own."""
        line = look_at(plain)
        if UNREADABLE in line.marks or len(text) > MAX_LINE:
            line = look_at(self._plain(text))
        if OURS in line.marks:
            return Line("", b"", ())  # our own project file beside the author's: myst has said the same of the author's
        unframed = self._trace.see(line.text, is_marked=TRACES in line.marks)
        if unframed != line.text:
            line = look_at(unframed)
        if ASKS in line.marks and (asked := network.ASKED.search(line.text)):
            self._asked = (number, asked["host"])
        if ENTERS in line.marks and (entered := commands.ENTERED.search(line.text)):
            self._make_folders[entered["level"]] = "" if f"{entered['folder']}/" == self._prefix else entered["folder"]
        if self._waiting:
            self._follow(line.text)
        return line

    def _first_rule(self, number: int, line: Line) -> tuple[Rule, Mapping[str, str | None]] | None:
        """What a line means, with its words: the first rule that matches, or the end of a trace of Python."""
        if TRIGGERS in line.marks:
            for rule in INDEX.candidates(line.data):
                if (found := rule.pattern.search(line.text)) and (
                    groups := self._complete_groups(number, rule, found)
                ) is not None:
                    return self._proven(rule, groups.get("host") or ""), groups
        if line.text and (raised := self._trace.raised):  # of our own project file nothing is said, whatever was raised before
            is_below = raised["colon"] and not raised["reason"]
            return languages.PYTHON_RAISED if is_below else languages.PYTHON_ERROR, raised
        return None

    def _is_surplus(self, rule: Rule) -> bool:
        """Whether a line of this rule changes nothing, because no more complaints are kept."""
        return self._complaints >= MAX_CLUES and rule.is_only_a_complaint and not self._trace.raised

    def _complete_groups(self, number: int, rule: Rule, found: re.Match[str]) -> dict[str, str | None] | None:
        """The groups of a line, with the host that the lines before it name; None if a rule about a host finds no host."""
        groups = found.groupdict()
        if rule.fact is Fact.HOST_WAS_ASKED and not groups.get("host"):
            host = groups.get("name") or self._trace.host or self._asked_host(number)
            return {**groups, "host": host} if host else None
        return groups

    def _asked_host(self, number: int) -> str:
        """The host that a program said it asks, shortly before this line."""
        asked_in, host = self._asked
        return host if number - asked_in <= network.NEAR else ""

    def _proven(self, rule: Rule, host: str) -> Rule:
        """The rule, or what it says otherwise if its fact is not true."""
        about = rule.programs or ((host.lower(),) if host else ())
        if rule.fact is None or rule.otherwise is None or self._is_fact(rule.fact, about):
            return rule
        return rule.otherwise

    def failure(self, *, exit_code: int, command: str, role: str = "", by_author: bool = False) -> BuildError:
        """The error for a command that failed, or did not make its export of ``role``. ``by_author`` says that it is the author's own."""
        if exit_code in KILLED:
            return self._killed(exit_code)
        ending = Ending(command, exit_code, by_author)
        clue = self.explain(role=role)
        if clue and (clue.rule.weight > Weight.COMPLAINT or (clue.rule.weight is Weight.COMPLAINT and not ending.is_crash)):
            return clue.error()
        error = error_of(ending, self._last, within=self._within)
        return clue.error() if clue and error.code not in SAYS_MORE else error

    def _killed(self, exit_code: int) -> BuildError:
        if self._kernel_reports:
            return CommandFailed(
                f"{START}the command was killed by one of its own programs, or by someone on the service's machine (exit code "
                f"{exit_code}). It had not used more than {self._words['memory']}."
            )
        return LimitHit(
            f"{START}the command was killed, most likely because it used more than {self._words['memory']} (exit code {exit_code})."
        )

    def explain(self, *, role: str = "") -> Clue | None:
        """The line that best explains why the export of ``role`` was not made; without a role, why the build failed."""
        clues = [clue for clue in self.all if not role or clue.explains(role)]
        best = max(clues, key=lambda clue: _rank(clue, role), default=None)
        return with_callers_place(self._placed(explained(self._placed(best, clues), clues), clues), clues) if best else None

    def findings(self, *, made: Collection[str] = (), unmade: Collection[str] = ()) -> Iterator[Finding]:
        """What the lines complain about, in their order. ``made`` and ``unmade`` are the roles of the exports, once that is known.

        A line that ended a command or an export breaks nothing if all was made in another way.
        """
        known = {*made, *unmade}
        clues = self.all
        for clue in sorted(clues, key=lambda each: each.number):
            if clue.rule.weight > Weight.ECHO:
                export = next((role for role in clue.rule.roles if role in known), clue.rule.roles[0] if clue.rule.roles else "")
                yield _weighed(self._placed(clue, clues), made, unmade).finding(export=export)

    def _placed(self, clue: Clue, clues: Sequence[Clue]) -> Clue:
        found = placed(clue, clues, self._pages)
        return by_check(found, self._checked()) if not found.file else found

    def set_aside(self, clue: Clue, *, for_role: str) -> None:
        """Forget ``clue`` if a later line also explains why the export is missing: it comes from a second try to make it."""
        later = (other for other in self.all if other.number > clue.number and other.explains(for_role))
        if any(other.rule.weight >= Weight.THROWN for other in later):
            self._clues = {key: other for key, other in self._clues.items() if other.number != clue.number}

    def _plain(self, text: str) -> str:
        line = readable(text[:MAX_LINE])
        return line.replace(self._prefix, "") if self._prefix else line

    def _clue(self, number: int, rule: Rule, groups: Mapping[str, str | None]) -> Clue:
        if rule is languages.PYTHON_ERROR and groups.get("kind") == "KeyError" and self._trace.reads_environment:
            rule, groups = environment.VARIABLE_MISSING, {"name": (groups.get("reason") or "").strip("'\"")}
        clue = self._with(Clue(number, rule, rule.kind, template=rule.else_, words=self._words), groups)
        if rule.in_notebook and not clue.file:
            clue = self._with(clue, {"file": self._trace.notebook})
        elif self._ends_something(rule) and not groups.get("file"):
            read = self._trace.take()
            clue = self._with(clue, read.groups)
            if read.kind and clue.code in CAN_CRASH:
                clue = replace(clue, kind=read.kind, template=read.kind.text)
        return clue

    def _ends_something(self, rule: Rule) -> bool:
        """Whether a line is the end of a program or a trace, so that the place before it is the line's."""
        return not rule.is_signed and (rule.weight in (Weight.THROWN, Weight.FATAL) or bool(self._trace.raised))

    def _with(self, clue: Clue, groups: Mapping[str, str | None]) -> Clue:
        """The clue with more groups of its line, or of those after it."""
        groups = {**clue.groups, **groups}
        groups["name"] = COPIED.sub("", groups.get("name") or "")
        groups["to"] = f" to {groups['host']}" if groups.get("host") else ""
        within = posixpath.join(self._within, self._make_folders.get(groups["level"], "") if "level" in groups else "")
        file = author_file(groups.get("file") or "", within)
        line = groups.get("line")
        at = int(line) + clue.rule.line_offset if line and (file or not groups.get("file")) else None
        return replace(clue, groups=groups, file=file, line=at)

    def _keep(self, clue: Clue) -> Clue:
        if clue.rule.follow or clue.rule.reader:
            self._waiting.append(_Waiting(clue))
        else:
            self._add(clue)
        return clue

    def _follow(self, line: str) -> None:
        """Complete the waiting clues that the line belongs to."""
        still = []
        for waiting in self._waiting:
            if BEGINS.search(line) and waiting.clue.rule.reader and not waiting.clue.rule.in_notebook:
                self._complete(waiting)
                continue
            waiting.lines.append(line)
            follow = waiting.clue.rule.follow
            if (follow and follow.search(line)) or len(waiting.lines) >= waiting.clue.rule.reads:
                self._complete(waiting)
            else:
                still.append(waiting)
        self._waiting = still

    def _complete(self, waiting: _Waiting) -> None:
        clue, rule = waiting.clue, waiting.clue.rule
        if rule.follow and waiting.lines and (found := rule.follow.search(waiting.lines[-1])):
            clue = replace(self._with(clue, found.groupdict()), template=rule.text)
        elif rule.reader:
            read = rule.reader(waiting.lines)
            if read.is_nothing:
                return
            if read.rule:
                rule = read.rule
                clue = replace(clue, rule=rule, kind=rule.kind, template=rule.else_)
            if read.groups:
                clue = replace(self._with(clue, read.groups), template=rule.text)
            if read.kind:
                clue = replace(clue, kind=read.kind, template=read.kind.text)
        self._add(clue)

    def _add(self, clue: Clue) -> None:
        if clue.rule.weight <= Weight.COMPLAINT:
            self._complaints += 1
            if self._complaints > MAX_CLUES:
                return
        elif len(self._clues) >= 2 * MAX_CLUES:
            return
        self._clues.setdefault(clue.key, clue)

    @property
    def all(self) -> list[Clue]:
        """All clues, in the order in which their lines were complete."""
        for waiting in self._waiting:
            self._complete(waiting)
        self._waiting = []
        return list(self._clues.values())


def _rank(clue: Clue, role: str) -> tuple[int, bool, bool, bool, bool, int]:
    """How well a clue explains the failure. Of two that weigh the same, one that was measured is better.

    Then the first is the cause. But of the errors that programs end with, it is the last with a place in the author's code: a program
    may have coped with those before.
    """
    weight = clue.rule.weight
    is_broken = weight > Weight.COMPLAINT or clue.kind.severity is Severity.BROKEN
    is_placed = bool(clue.file or clue.groups.get("quoted")) or clue.code == CRASHED.code
    has_place, order = (is_placed, clue.number) if weight is Weight.THROWN else (False, -clue.number)
    return weight, bool(role and role in clue.rule.roles), clue.rule.fact is not None, is_broken, has_place, order


def _weighed(clue: Clue, made: Collection[str], unmade: Collection[str]) -> Clue:
    """The clue, as a notice if it ended the making of an export that was made in another way."""
    roles = set(clue.rule.roles or made)
    if clue.rule.weight <= Weight.COMPLAINT or clue.code in ALWAYS_BROKEN or not roles & set(made) or roles & set(unmade):
        return clue
    return replace(clue, kind=replace(clue.kind, severity=Severity.NOTICE))
