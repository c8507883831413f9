"""The exports that a project file declares, with those of the local files that it extends, in mystmd's order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builds.engine.manuscript import exports, limited
from builds.engine.manuscript.exports import Declared
from builds.engine.manuscript.paths import is_name, read_text
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import MAX_YAML_COST, read_settings, read_yamls, yaml_cost

MAX_FILES = 20


def with_inherited(project: Project, submitted: Sequence[Any]) -> list[Any]:
    """The entries of the submission, then those of the files that the project file extends: desci-server does not resolve ``extends``.

    What is delivered is among these (CONTRACT §3).

    Raises:
        ProjectFileInvalid: the project file can't be read within the limits of time and memory.
    """
    return _joined(submitted, _Walk(project).inherited(read_settings(project), project.file))


def every_export(project: Project, submitted: Sequence[Any]) -> list[Any]:
    """The entries of :func:`with_inherited`, then those of the project file that the submission lacks: ``myst`` makes them too.

    Raises:
        ProjectFileInvalid: as above.
    """
    return _joined(submitted, _Walk(project).entries(read_settings(project), project.file))


def _joined(submitted: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    found = list(submitted)
    known = [exports.parse(entry) for entry in submitted]
    for entry in more:
        parsed = exports.parse(entry)
        if parsed and not any(_is_same(parsed, other) for other in known if other):
            found.append(entry)
    return found


def _is_same(one: Declared, other: Declared) -> bool:
    return (one.format, one.output) == (other.format, other.output)


@dataclass
class _Walk:
    """Reads the files that a project file extends, all together within the limits of one project file."""

    project: Project
    _seen: set[Path] = field(default_factory=set)
    _left: int = field(default_factory=lambda: MAX_YAML_COST)

    def entries(self, settings: Any, file: Path) -> list[Any]:
        """What a project file declares: first what it inherits."""
        return [*self.inherited(settings, file), *_own(settings)]

    def inherited(self, settings: Any, file: Path) -> list[Any]:
        self._seen.add(file)
        if not isinstance(settings, dict):
            return []
        found: list[Any] = []
        for path in _extended(self.project, settings, file):
            if path not in self._seen and len(self._seen) < MAX_FILES:
                found += self.entries(self._read(path), path)
        return found

    def _read(self, path: Path) -> Any:
        """None if it is not read: ``myst`` reports what is wrong with it."""
        try:
            text = read_text(self.project, path)
            self._left -= yaml_cost(text)
            return read_yamls([text])[0] if self._left >= 0 else None
        except (OSError, ValueError, limited.TooComplex):
            return None


def _extended(project: Project, settings: dict[str, Any], file: Path) -> list[Path]:
    """The local files that a project file extends. One on the web is not read: ``myst`` fetches it."""
    written = settings.get("extends", settings.get("extend"))
    names = [name for name in (written if isinstance(written, list) else [written]) if isinstance(name, str) and is_name(name)]
    paths = [Path(os.path.normpath(file.parent / name)) for name in names if "://" not in name]
    return [path for path in paths if path.is_relative_to(project.root)]


def _own(settings: Any) -> list[Any]:
    holder = settings.get("project") if isinstance(settings, dict) else None
    listed = (holder.get("exports") or holder.get("export")) if isinstance(holder, dict) else None
    return listed if isinstance(listed, list) else [listed] if listed else []
