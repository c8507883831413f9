"""The findings of a build, as rows. They are written while the build runs, and never after it has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from django.db import transaction

from builds.engine.findings import Finding, Findings, Group, Severity
from builds.errors import BuildStopped, Fault
from builds.lib.text import one_line
from builds.models import Build, State
from builds.models import Finding as Row
from builds.models.finding import MAX_CODE, MAX_NAME

MAX_TEXT = 1000
MAX_NUMBER = 2**31 - 1


class FindingWriter:
    """Writes the collected findings of one running build. Two threads may ask for it.

    Raises (from :meth:`write` and :meth:`write_at_once`):
        BuildStopped: the build has ended in the database, so nothing more can be written.
        OperationalError, InterfaceError: the database is unavailable. The next call writes what this one did not.
    """

    def __init__(self, build: Build, findings: Findings, redact: Callable[[str], str]) -> None:
        self._build, self._findings, self._redact = build, findings, redact
        self._lock = threading.Lock()
        self._written: tuple[tuple[Finding, ...], int] = ((), 0)

    def write(self) -> None:
        """Make the rows equal what is collected."""
        with self._lock:
            self._write()

    def write_at_once(self) -> None:
        """Like :meth:`write`, but not while another thread is writing."""
        if self._lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        collected = self._findings.all, self._findings.left_out
        if collected != self._written:
            self._replace(*collected)
            self._written = collected

    @transaction.atomic
    def _replace(self, findings: Iterable[Finding], left_out: int) -> None:
        """Write all rows again: a finding that turned out not to hold is no longer collected."""
        running = Build.objects.filter(pk=self._build.pk, state=State.RUNNING)
        if not running.update(problems=self._findings.problems, findings_left_out=left_out):
            raise BuildStopped("The build has ended in the database.")
        Row.objects.filter(build=self._build).delete()
        Row.objects.bulk_create(self._row(position, finding) for position, finding in enumerate(findings, 1))

    def _row(self, position: int, finding: Finding) -> Row:
        return Row(
            build=self._build,
            submission_id=self._build.submission_id,
            position=position,
            group=finding.group,
            code=finding.code[:MAX_CODE],
            severity=finding.severity,
            fault=finding.fault,
            text=self._clean(finding.text, MAX_TEXT),
            advice=self._clean(finding.advice, MAX_TEXT),
            file=self._clean(finding.file, MAX_NAME),
            line=_storable(finding.line),
            log_line=_storable(finding.log_line),
            export=self._clean(finding.export, MAX_NAME),
        )

    def _clean(self, text: str, limit: int) -> str:
        """A finding may quote the output of a program, and is shown to staff and clients."""
        return one_line(self._redact(text), limit)


def _storable(number: int | None) -> int | None:
    """A number of a line, if there can be such a line: a program may have printed any number."""
    return number if number is not None and 0 < number <= MAX_NUMBER else None


def take_over(source: Build, findings: Findings) -> None:
    """Collect the findings of ``source``, whose exports another build delivers.

    The lines of the log are left out: they are in the log of ``source``.
    """
    kept = [_finding(row) for row in source.findings.all()]
    broken = sum(finding.is_broken for finding in kept if finding.group is Group.BUILD)
    findings.take_over(kept, left_out=source.findings_left_out, left_out_broken=max(source.problems - broken, 0))


def _finding(row: Row) -> Finding:
    return Finding(
        row.code,
        Severity(row.severity),
        row.text,
        row.advice,
        row.file,
        row.line,
        export=row.export,
        fault=Fault(row.fault),
        group=Group(row.group),
    )
