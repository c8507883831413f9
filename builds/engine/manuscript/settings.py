"""The project file (``myst.yml``): reading it as mystmd reads it, and writing it. A limited child process parses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from builds.engine.manuscript import limited
from builds.engine.manuscript.paths import is_inside, read_text
from builds.engine.manuscript.project import Project
from builds.errors import ProjectFileInvalid

# Our own project file beside the author's, while one command runs.
OVERLAY = "_jobsite.yml"
# The characters of a YAML file, multiplied by its merges: about five seconds of reading.
MAX_YAML_COST = 500_000


def read_yamls(texts: Sequence[str]) -> list[Any]:
    """Parse YAML documents as mystmd does. None where a document is not valid, or would take too long to read.

    Raises:
        limited.TooComplex: they can't be read within the limits.
    """
    return limited.yaml_values(["" if _costs_too_much(text) else text for text in texts])


def read_settings(project: Project) -> dict[str, Any]:
    """The project file's content; empty if it can't be read, because myst reports what is wrong with it.

    Raises:
        ProjectFileInvalid: it can't be read within the limits of time and memory.
    """
    text = _text(project)
    try:
        return dict(_read(text)) if text else {}
    except limited.TooComplex as error:
        raise _too_complex(project) from error


def write_overlay(project: Project, path: Path, *, top: Mapping[str, Any], in_project: Mapping[str, Any]) -> None:
    """Write the project file to ``path`` with other values: those of ``top``, and in ``project`` those of ``in_project``.

    None removes a value.

    Raises:
        ProjectFileInvalid: it can't be read within the limits of time and memory.
    """
    try:
        path.write_text(limited.patch_yaml(_text(project), top=top, project=in_project), encoding="utf-8")
    except limited.TooComplex as error:
        raise _too_complex(project) from error


def fix_toc(project: Project) -> None:
    """Rewrite the project file with its lists indented deeper than their keys: mystmd can't bundle it otherwise.

    Raises:
        ProjectFileInvalid: it can't be read within the limits of time and memory.
    """
    if not read_settings(project):
        return
    try:
        text = limited.unfold_yaml(_text(project))
    except limited.TooComplex as error:
        raise _too_complex(project) from error
    if is_inside(project, project.file):
        project.file.write_text(text, encoding="utf-8")


def _text(project: Project) -> str:
    """The project file's text; empty if it can't be read."""
    try:
        text = read_text(project, project.file)
    except (OSError, ValueError):
        return ""
    return "" if _costs_too_much(text) else text


def yaml_cost(text: str) -> int:
    """How long reading it may take, as a number of characters: each merge may copy the whole document."""
    return len(text) * (1 + text.count("<<") + text.count("!!merge"))


def _costs_too_much(text: str) -> bool:
    return yaml_cost(text) > MAX_YAML_COST


@lru_cache(maxsize=4)
def _read(text: str) -> dict[str, Any]:
    """Nobody may change the result: the next build step gets the same."""
    [value] = limited.yaml_values([text])
    return value if isinstance(value, dict) else {}


def _too_complex(project: Project) -> ProjectFileInvalid:
    return ProjectFileInvalid(
        f"Failed to build the repo files: {project.file.name} is too complex to read: it is very large, nested very deeply, or its "
        "aliases stand for too many values.",
        file=project.file.name,
    )
