"""The kinds that builds/engine/tools/reading/ finds in a manuscript's sources, by their codes."""

from __future__ import annotations

from builds.engine.findings.finding import Severity
from builds.engine.findings.kind import Kind, kind

SOURCES: dict[str, Kind] = {}


def source_kind(code: str, severity: Severity, text: str, *, advice: str = "", is_shared: bool = True) -> Kind:
    """Make a kind that a check of the sources finds. `myst` may complain about the same thing: rules may have the same code.

    They have words of their own for it if the kind is shared, and otherwise its advice and severity.
    """
    made = SOURCES[code] = kind(code, severity, text, advice=advice, is_shared=is_shared)
    return made
