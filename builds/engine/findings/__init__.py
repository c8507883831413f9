"""What tools and our own checks complain about. :class:`Findings` collects it; :class:`Kind` says once what each complaint means."""

from builds.engine.findings.collector import Findings
from builds.engine.findings.finding import Finding, Group, Severity
from builds.engine.findings.kind import Kind, kind

__all__ = ["Finding", "Findings", "Group", "Kind", "Severity", "kind"]
