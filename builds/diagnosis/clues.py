"""Collects the lines that may explain a failure, and chooses among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from builds.ceilings import Ceilings
from builds.diagnosis import myst, pdf, programs
from builds.diagnosis.rule import Rule, Weight
from builds.errors import BuildError, CommandFailed, Fault, LimitHit

START = "Failed to build the repo files: "

# Of two rules that match a line the first one holds: from the particular to the general.
RULES = (
    *programs.SERVICE_RULES,
    *myst.CONFIG_RULES,
    *pdf.TEMPLATE_RULES,
    *pdf.TYPST_RULES,
    *pdf.LATEX_RULES,
    *myst.EXPORT_RULES,
    *myst.PAGE_RULES,
    *programs.PIXI_RULES,
    *programs.PROGRAM_RULES,
)

# A cheap look at a line, before the table is walked: no rule matches a line without one of these.
TRIGGER = re.compile(
    r"⛔|📭|×|! |rror|xception|MemoryError|ERR!|FATAL|atal: |failed|not found|not available|Permission denied|memory|bad_alloc|ENO"
    r"|No space|quota|Cannot|Could not|No valid|Querying template|Problem with|must be installed|not installed|Node\.js|\.tex:|\.sty:"
    r"|\.cls:|\.bbl:|env: |temporarily unavailable|EAGAIN|new thread|File too large|EFBIG|size limit|stopping build|\*\*\*|dns |TOC "
)
# Lines that say nothing by themselves.
NOISE = re.compile(
    r"^\s*(?:at .*[\d>)]$|Node\.js v|Myst CLI Versions|- (?:node|npm|myst)\s|To list valid templates|npm (?:ERR!|error) A complete log"
    r"|building myst-cli session|[│┌└╰├·|-]|\^+$|~+$|\d+ [│|]|📖|📚|📬|📑|🍡|🔌|🌎|🔍|🐕|\[\d+:0x|\d+: 0x)|^\s*$"
)
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# What a program says of the network that builds don't have (:func:`builds.toolchain.environment`).
NO_NETWORK = re.compile(r"(?:failed, reason: )?connect (?:ECONNREFUSED|ENETUNREACH) 127\.0\.0\.1:9\b|fetch failed")
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")

LINE_LOOKED_AT = 2000
FOLLOWED_LINES = 12
KEPT = 200
SENTENCE_LENGTH = 600
# By a shell's account, by ours, and by that of mystmd's wrapper in Python, which ends with 256 less the signal.
KILLED = (137, -9, 247)


@dataclass(frozen=True)
class Clue:
    """A line of the log and what it means: ``text`` is the end of a sentence that begins as START does."""

    number: int
    text: str
    rule: Rule
    groups: dict[str, str | None] = field(default_factory=dict)

    @property
    def fault(self) -> Fault:
        return self.rule.error.fault

    @property
    def file(self) -> str:
        return self.groups.get("file") or ""

    @property
    def line(self) -> int | None:
        line = self.groups.get("line")
        return int(line) + self.rule.line_offset if line else None

    def explains(self, role: str) -> bool:
        return not self.rule.roles or role in self.rule.roles


class Clues:
    """What of a build's output may explain a failure. Paths below ``folder`` are shown without it.

    ``kernel_tells``: it tells by itself when it ends a program for its memory, so that who is killed without that was not.
    """

    def __init__(
        self, folder: Path | None = None, *, limits: Mapping[str, str] | None = None, kernel_tells: bool = False
    ) -> None:
        self._kernel_tells = kernel_tells
        self._limits = dict(limits or Ceilings().in_words)
        self._prefix = f"{folder}/" if folder else ""
        self._clues: dict[str, Clue] = {}
        self._waiting: list[tuple[Clue, int]] = []  # with how many more lines are looked at
        self._last = (0, "")

    def see(self, number: int, stream: str, text: str) -> None:
        """Look at a line of the log."""
        line = self._plain(text)
        self._follow(line)
        if not NOISE.search(line):
            self._last = (number, line.strip())
        if len(self._clues) >= KEPT or not TRIGGER.search(line):
            return
        for rule in RULES:
            if found := rule.pattern.search(line):
                self._keep(Clue(number, "", rule, found.groupdict()))
                return

    def failure(self, *, exit_code: int, command: str, role: str = "") -> BuildError:
        """The error for a command that failed, or has not made its export of ``role``."""
        if exit_code in KILLED:
            return self._killed(exit_code)
        clue = self.explain(role=role)
        if clue:
            return self._error(clue)
        number, line = self._last
        why = f": {line[:SENTENCE_LENGTH]}" if line else ""
        ended = f"`{command}` ended with exit code {exit_code}" if exit_code else f"`{command}` did not make what it was to make"
        return CommandFailed(f"{START}{ended}{why}", log_line=number or None)

    def _killed(self, exit_code: int) -> BuildError:
        if self._kernel_tells:
            return CommandFailed(
                f"{START}the command was killed by one of its own programs, or by somebody on the service's machine (exit code "
                f"{exit_code}). It had not used more than {self._limits['memory']}."
            )
        return LimitHit(
            f"{START}the command was killed, most likely because it used more than {self._limits['memory']} (exit code {exit_code})."
        )

    def explain(self, *, role: str = "") -> Clue | None:
        """The line that best explains that the export of ``role`` (or, without one, anything) was not made."""
        clues = [clue for clue in self._finished() if not role or clue.explains(role)]
        best = max(clues, key=lambda clue: (clue.rule.weight, bool(role and role in clue.rule.roles), -clue.number), default=None)
        return self._placed(best) if best and best.text.startswith("Typst ") and not best.file else best

    def _placed(self, clue: Clue) -> Clue:
        """What Typst says of a text that MyST has generated, with MyST's own first complaint, which has a place in the manuscript."""
        complaints = (other for other in self._finished() if other.rule.weight == Weight.COMPLAINT and other.file and other.line)
        first = min(complaints, key=lambda other: other.number, default=None)
        if first is None:
            return clue
        place = {"file": first.file, "line": first.groups["line"]}
        return replace(
            clue, text=f"{clue.text.rstrip('.')}. MyST's first complaint: {first.text}", groups={**clue.groups, **place}
        )

    def set_aside(self, clue: Clue, *, for_role: str) -> None:
        """Forget ``clue`` where a later line explains the export's absence too: another attempt was made after it, and says why."""
        later = (other for other in self._finished() if other.number > clue.number and other.explains(for_role))
        if any(other.rule.weight >= Weight.THROWN for other in later):
            self._clues.pop(clue.text, None)

    @staticmethod
    def _error(clue: Clue) -> BuildError:
        return clue.rule.error(
            f"{START}{clue.text}", advice=clue.rule.advice, file=clue.file, line=clue.line, log_line=clue.number
        )

    def _plain(self, text: str) -> str:
        line = UNPRINTABLE.sub(" ", COLOUR.sub("", text[:LINE_LOOKED_AT]))
        line = NO_NETWORK.sub("builds run without network access", line)
        return line.replace(self._prefix, "") if self._prefix else line

    def _keep(self, clue: Clue) -> None:
        if clue.rule.follow:
            self._waiting.append((clue, FOLLOWED_LINES))
        else:
            self._add(clue, clue.rule.sentence)

    def _follow(self, line: str) -> None:
        """Whether the line completes one before it."""
        still = []
        for clue, lines_left in self._waiting:
            found = clue.rule.follow.search(line) if clue.rule.follow else None
            if found:
                self._add(replace(clue, groups={**clue.groups, **found.groupdict()}), clue.rule.sentence)
            elif lines_left > 1:
                still.append((clue, lines_left - 1))
            else:
                self._add(clue, clue.rule.else_)
        self._waiting = still

    def _add(self, clue: Clue, sentence: str) -> None:
        line = clue.line
        words = {**self._limits, **{name: value or "" for name, value in clue.groups.items()}, "line": line or ""}
        text = sentence.format_map(words)[:SENTENCE_LENGTH]
        self._clues.setdefault(text, replace(clue, text=text))

    def _finished(self) -> list[Clue]:
        for clue, _lines_left in self._waiting:
            self._add(clue, clue.rule.else_)
        self._waiting = []
        return list(self._clues.values())
