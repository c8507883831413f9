"""Collects the findings of one attempt: each once, and no more than a bounded number."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable

from builds.engine.findings.finding import Finding, Group, Severity

MAX_FINDINGS = 200
MAX_COUNTED_ONCE = 20_000


class Findings:
    """The findings of one attempt, in the order in which they came. The rest beyond ``most`` is only counted.

    Broken findings go before notices where there is no room for both. Lines of output come from another thread.
    """

    def __init__(self, most: int = MAX_FINDINGS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._by_identity: dict[tuple[object, ...], Finding] = {}
        self._explained: list[tuple[Finding, str]] = []
        self._left_out_by_code: dict[str, Finding] = {}
        self._left_out: set[int] = set()  # of the identities; each is counted once, as far as this has room
        self.left_out = 0
        self.left_out_broken = 0

    def add(self, finding: Finding) -> bool:
        """Keep a finding unless it is there already. Returns whether it is new."""
        with self._lock:
            if finding in self:
                return False
            if len(self._by_identity) >= self._most and not self._make_room(finding):
                self._leave_out(finding)
            else:
                self._by_identity[finding.identity] = finding
            return True

    def __contains__(self, finding: Finding) -> bool:
        return finding.identity in self._by_identity or hash(finding.identity) in self._left_out

    def explain(self, finding: Finding, subject: str) -> None:
        """Note that a check of our own has found what a program may complain about too, with less to say.

        ``subject`` is what that complaint names (a picture, a label), and ``*`` if any complaint about the line is meant. Empty: none.
        """
        if subject:
            self._explained.append((finding, subject))

    def is_explained(self, complaint: Finding) -> bool:
        """Whether a check of our own has found what a program complains about, and takes it as seriously."""
        explanations = (
            (finding, subject) for finding, subject in self._explained if finding.is_broken or not complaint.is_broken
        )
        return any(_is_about(complaint, finding, subject) for finding, subject in explanations)

    def discard(self, findings: Iterable[Finding]) -> None:
        """Forget findings that turned out not to hold."""
        with self._lock:
            for finding in findings:
                self._by_identity.pop(finding.identity, None)

    def take_over(self, findings: Iterable[Finding], *, left_out: int, left_out_broken: int) -> None:
        """Add what another attempt collected, with what it could only count."""
        for finding in findings:
            self.add(finding)
        self.left_out += left_out
        self.left_out_broken += left_out_broken

    def _make_room(self, finding: Finding) -> bool:
        """Leave out the newest notice for a broken finding."""
        if not finding.is_broken:
            return False
        notices = [each for each in self._by_identity.values() if each.severity is Severity.NOTICE]
        if notices:
            self._leave_out(self._by_identity.pop(notices[-1].identity))
        return bool(notices)

    def _leave_out(self, finding: Finding) -> None:
        self._left_out_by_code.setdefault(finding.code, finding)
        if len(self._left_out) < MAX_COUNTED_ONCE:
            self._left_out.add(hash(finding.identity))
        self.left_out += 1
        self.left_out_broken += finding.is_broken

    def first_of(self, codes: Collection[str]) -> Finding | None:
        """The first finding with one of these codes, also if it was left out."""
        return next((finding for finding in self.kinds if finding.code in codes), None)

    @property
    def kinds(self) -> tuple[Finding, ...]:
        """All findings and, of those that were left out, the first with each code."""
        return (*self.all, *self._left_out_by_code.values())

    @property
    def all(self) -> tuple[Finding, ...]:
        with self._lock:
            return tuple(self._by_identity.values())

    @property
    def problems(self) -> int:
        """How many broken findings there are, those that were left out included."""
        return sum(each.is_broken for each in self.all if each.group is Group.BUILD) + self.left_out_broken


def _is_about(complaint: Finding, finding: Finding, subject: str) -> bool:
    """Whether a complaint is about a finding: it has no other place, and names its subject."""
    if complaint.is_broken and not finding.is_broken:
        return False
    if complaint.file != finding.file or (complaint.line and finding.line and complaint.line != finding.line):
        return False
    return bool(complaint.line) if subject == "*" else subject in complaint.text
