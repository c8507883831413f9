"""Explains why a command failed if no rule knows the reason: from its exit code, and the last lines that it printed."""

from __future__ import annotations

import re
import signal
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from builds.engine.diagnosis.clue import START, author_file
from builds.engine.diagnosis.languages import PLACE
from builds.engine.diagnosis.plain_lines import PlainLines
from builds.engine.diagnosis.trace import CRASHED
from builds.errors import BuildError, CommandComplained, CommandEnded, CommandGaveNoReason, CommandSilent, Unexplained

# The exit code of a killed program: from a shell, from Python, and from mystmd's Python wrapper (256 minus the signal).
KILLED = (137, -9, 247)
# The signals that a program gets because of an error of its own.
CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS)
FROM_SHELL = 128  # to this a shell adds the number of the signal
TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127  # of `timeout`, and of a shell
SAID_BY_CODE = {
    TIMED_OUT: "the program `timeout` exits with this code when its time limit has passed",
    NOT_EXECUTABLE: "a shell exits with this code if a program can't be run",
    NOT_FOUND: "a shell exits with this code if a program is not installed",
}
MAX_KEPT = 40
MAX_SHOWN = 3
MAX_SENTENCE = 600
NEAR = 2  # lines: complaints so near to each other are about one thing, and the first says most
# What a line says that complains, in the words of most programs.
COMPLAINS = re.compile(
    r"(?i)\b(?:can(?:'|no)t|can not|could(?: not|n't)|unable|fail(?:s|ed|ure)?|errors?|invalid|illegal|missing|mandatory"
    r"|unknown|unexpected"
    r"|unrecogni[sz]ed|un(?:terminated|balanced|matched|closed|readable|reachable|resolved)|discouraged|undefined|unsupported"
    r"|denied|refused|forbidden|requires?|required|must|expected|do(?:es)?(?: not|n't)|did(?: not|n't)"
    r"|no such|not (?:found|a|an|in|allowed|permitted|supported|available|installed|defined|set|enough|valid|possible"
    r"|match\w*|exist\w*"
    r"|up)|no (?:\w+ ){0,4}(?:found|given|specified|left|available|match\w*)|abort\w*|fatal|panic|wrong|conflict\w*|mismatch"
    r"|corrupt\w*"
    r"|too (?:many|few|large|long|small|short|old|new)|timed? ?out|exceed\w*|out of|already exists|out-of-date|refus\w+"
    r"|stopp(?:ed|ing)"
    r"|exception|broken|incompatible|deprecated and removed|is empty|usage|expired|not specified|omitting|died|killed)\b"
)
# Words of statistics, of a report without errors, and of what does not end a program.
HARMLESS = re.compile(
    r"(?i)\b(?:0|no|zero|without) (?:errors?|failures?|warnings?)|\berrors?:? *[=(]? *[-+]?[\d.]|standard errors?\b"
    r"|\berror (?:bars?|rates?|terms?)|"
    r"\b(?:failed|failures|errors): 0\b|warnings?\b|\b(?:debug|info|note|hint|deprecat\w+)\b|if (?:an|it|the)\b.*\bfail"
    r"|\babove\b"
)


@dataclass(frozen=True)
class Ending:
    """How a command ended. ``by_author`` says that it is the author's own, not one that Jobsite chose."""

    command: str
    exit_code: int
    by_author: bool = False

    @property
    def signal(self) -> int:
        """The signal that ended it, as far as its exit code says; otherwise 0."""
        number = -self.exit_code if self.exit_code < 0 else self.exit_code - FROM_SHELL
        return number if number in list(signal.Signals) else 0

    @property
    def is_crash(self) -> bool:
        return self.signal in CRASHES

    @property
    def words(self) -> str:
        if not self.exit_code:
            return f"`{self.command}` did not make the export"
        if self.signal:
            return f"`{self.command}` was ended by the signal {signal.Signals(self.signal).name}"
        return f"`{self.command}` ended with exit code {self.exit_code}"


class LastLines:
    """The last lines of the output. Those that are noise count only where there are no others.

    Lines that only say that another program failed are shown, and are not complaints.
    """

    def __init__(self) -> None:
        self._telling: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT)
        self._noise: deque[tuple[int, str]] = deque(maxlen=MAX_KEPT)
        self._saying_nothing: deque[int] = deque(maxlen=2 * MAX_KEPT)

    def see(self, first: int, lines: PlainLines, *, noise: Sequence[int], says_nothing: Iterable[int] = ()) -> None:
        """Take in consecutive lines, of which ``first`` is the first one's number.

        ``noise`` and ``says_nothing`` are indexes of lines, in their order. Empty lines may be left out.
        """
        self._saying_nothing.extend(first + at for at in says_nothing)
        known = set(noise)
        self._extend(self._telling, first, lines, (at for at in reversed(range(len(lines))) if at not in known))
        self._extend(self._noise, first, lines, reversed(noise))

    @staticmethod
    def _extend(kept: deque[tuple[int, str]], first: int, lines: PlainLines, backwards: Iterable[int]) -> None:
        shown = ((first + at, stripped) for at in backwards if (stripped := lines[at].strip()))
        kept.extend(reversed([*islice(shown, MAX_KEPT)]))

    @property
    def shown(self) -> tuple[tuple[int, str], ...]:
        return tuple(self._telling or self._noise)[-MAX_SHOWN:]

    @property
    def complaint(self) -> tuple[int, str] | None:
        """The last line that complains; of several near to each other, the first."""
        return _complaint(self._telling, self._saying_nothing) or _complaint(self._noise, self._saying_nothing)


def _complaint(lines: Iterable[tuple[int, str]], known: Collection[int]) -> tuple[int, str] | None:
    found = [
        (at, number, line)
        for at, (number, line) in enumerate(lines)
        if number not in known and COMPLAINS.search(line) and not HARMLESS.search(line)
    ]
    if not found:
        return None
    first = len(found) - 1
    while first and found[first][0] - found[first - 1][0] <= NEAR:
        first -= 1
    return found[first][1:]


def error_of(ending: Ending, lines: LastLines, *, within: str = "") -> BuildError:
    """The error of a command for whose failure no rule has a reason. ``within`` is the project's folder in the repository."""
    shown = lines.shown
    at = shown[-1][0] if shown else None
    said = lines.complaint
    if ending.is_crash:
        crashed = f"{START}{ending.words}: a tool crashed with an internal error, which is not the manuscript's"
        return Unexplained(crashed, advice=CRASHED.advice, log_line=at, code=CRASHED.code)
    if not ending.by_author or not ending.exit_code:
        at = said[0] if said else at
        return Unexplained(f"{START}{ending.words}{_last(shown, said)}", log_line=at)
    if ending.signal:
        return CommandEnded(f"{START}{ending.words}{_last(shown, said)}", log_line=at)
    if said:
        return _complained(ending, said, within)
    if why := SAID_BY_CODE.get(ending.exit_code):
        return CommandGaveNoReason(f"{START}{ending.words}: {why}", log_line=at)
    if not shown:
        return CommandSilent(f"{START}{ending.words} and printed nothing at all")
    return CommandGaveNoReason(f"{START}{ending.words} and printed no error. Its last lines are{_last(shown, None)}", log_line=at)


def _complained(ending: Ending, said: tuple[int, str], within: str) -> BuildError:
    place = PLACE.search(said[1])
    file = author_file(place["file"], within) if place else ""
    return CommandComplained(
        f"{START}{ending.words}, and complained: {said[1][:MAX_SENTENCE]}",
        file=file,
        line=int(place["line"]) if place and file else None,
        log_line=said[0],
    )


def _last(shown: Collection[tuple[int, str]], said: tuple[int, str] | None) -> str:
    """The last lines, with the one that complains before them, as the end of a sentence."""
    lines = [line for number, line in shown if not said or number != said[0]]
    told = " / ".join(([said[1]] if said else []) + lines)
    return f": {told[: MAX_SENTENCE // 2]}" if said and told else f": {told[-MAX_SENTENCE:]}" if told else ""
