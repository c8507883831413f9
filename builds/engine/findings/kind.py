"""A kind of finding, and the registry of all kinds."""

from __future__ import annotations

from dataclasses import dataclass

from builds.engine.findings.finding import Finding, Group, Severity
from builds.errors import Fault

MAX_CODE = 60
MAX_TEXT = 600
MAX_NAME = 300
KINDS: dict[str, Kind] = {}
_made: set[tuple[str, bool]] = set()  # the code of each kind, and whether it is shared


@dataclass(frozen=True)
class Kind:
    """What all findings with one code have in common.

    ``text`` is one sentence for an author, with named places for words (``"{name} is empty."``). ``examples`` are output lines that
    lead to this kind; the tests run them. A kind without examples is found by a check of our own.
    """

    code: str
    severity: Severity
    text: str
    advice: str = ""
    fault: Fault = Fault.MANUSCRIPT
    group: Group = Group.BUILD
    examples: tuple[str, ...] = ()
    is_shared: bool = False

    def finding(
        self, *, file: str = "", line: int | None = None, log_line: int | None = None, export: str = "", **words: object
    ) -> Finding:
        """A finding of this kind. ``words`` fill the places in the text; ``file`` and ``line`` may stand there too."""
        text = self.text.format_map({"file": file, "line": line or "", "export": export, **words})[:MAX_TEXT]
        place = (file[:MAX_NAME], line, log_line, export[:MAX_NAME])
        return Finding(self.code, self.severity, text, self.advice, *place, fault=self.fault, group=self.group)


def kind(
    code: str,
    severity: Severity,
    text: str,
    *,
    advice: str = "",
    fault: Fault = Fault.MANUSCRIPT,
    group: Group = Group.BUILD,
    examples: tuple[str, ...] = (),
    is_shared: bool = False,
) -> Kind:
    """Make a kind and register it. Its code is stored and filtered by, so it never changes.

    A shared kind is found in two ways, by a check of our own and in the output of a program: one other kind, which is not shared, may have
    its code, with the words that are known there. Then that one is registered, whichever was made first.

    Raises:
        ValueError: the code is taken or too long.
    """
    if len(code) > MAX_CODE or (code, is_shared) in _made:
        raise ValueError(f"the code {code!r} is taken or longer than {MAX_CODE} characters")
    _made.add((code, is_shared))
    made = Kind(code, severity, text, advice, fault, group, examples, is_shared)
    if code not in KINDS or not is_shared:
        KINDS[code] = made
    return made
