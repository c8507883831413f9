"""Which pages an export contains, by the log of ``myst`` (an export's ``articles``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builds.engine.manuscript.paths import is_inside, is_name
from builds.engine.manuscript.project import Project

Article = Mapping[str, Any]
"""A page (``file``, relative to the project file's folder) or a part without a page (``title``), with its ``level``."""

MAX_ARTICLES = 5000


def of_entry(project: Project, entry: Mapping[str, Any]) -> tuple[Article, ...]:
    """The articles of an export in the log. The build can forge its log: only files inside the repository count."""
    listed = entry.get("articles")
    return tuple(_articles(project, listed[:MAX_ARTICLES])) if isinstance(listed, list) else ()


def of_project(project: Project, log: Sequence[Mapping[str, Any]]) -> tuple[Article, ...]:
    """Every page of the project, by the export in the log that has the most of them. Empty without such an export."""
    found = (_with_sub_articles(project, entry) for entry in log if _is_of_project(project, entry))
    return max(found, key=len, default=())


def of_jats(project: Project, root: Path | None, log: Sequence[Mapping[str, Any]], named: Sequence[str]) -> tuple[str, ...]:
    """The files of the pages that belong into the JATS of the MECA; empty if the log names none, which stands for all pages.

    That is the JATS export of the project file or the root page, or else the one that the MECA makes, with the pages that the
    author ``named`` for it: mystmd leaves out all but the first.
    """
    root_file = project.folder / root if root else project.file
    ours = [entry for entry in log if Path(str(entry.get("$file", ""))) in (project.file, root_file)]
    if made := [entry for entry in ours if entry.get("format") == "xml"]:
        return tuple(files(_with_sub_articles(project, made[0])))
    made = [entry for entry in ours if entry.get("format") == "meca"]
    return (*files(_with_sub_articles(project, made[0])), *named) if made else ()


def with_root(root: Path | None, articles: Sequence[Article]) -> tuple[Article, ...]:
    """The articles, with the root page first: ``myst`` leaves it out where an export names no articles."""
    if root is None or str(root) in files(articles):
        return tuple(articles)
    return ({"file": str(root), "level": 1}, *articles)


def files(articles: Sequence[Article]) -> list[str]:
    return [article["file"] for article in articles if "file" in article]


def for_typst(articles: Sequence[Article]) -> list[Article]:
    """The articles for an export to Typst, which knows no level below 1 (parts and chapters of LaTeX)."""
    lowest = min((article["level"] for article in articles if "level" in article), default=1)
    shift = max(0, 1 - lowest) if len(articles) > 1 else 0
    return [{**article, "level": article["level"] + shift} if "level" in article else article for article in articles]


def _is_of_project(project: Project, entry: Mapping[str, Any]) -> bool:
    return Path(str(entry.get("$file", ""))) == project.file


def _with_sub_articles(project: Project, entry: Mapping[str, Any]) -> tuple[Article, ...]:
    listed = entry.get("sub_articles")
    others = [{"file": file, "level": 1} for file in listed[:MAX_ARTICLES]] if isinstance(listed, list) else []
    return (*of_entry(project, entry), *_articles(project, others))


def _articles(project: Project, listed: Sequence[Any]) -> Iterator[Article]:
    for entry in listed:
        if not isinstance(entry, dict):
            continue
        article = {key: entry[key] for key in ("title",) if isinstance(entry.get(key), str)}
        if file := _file(project, entry.get("file")):
            article["file"] = file
        elif "file" in entry:
            continue
        level = entry.get("level")
        if isinstance(level, int) and -1 <= level <= 6:
            article["level"] = level
        if "file" in article or "title" in article:
            yield article


def _file(project: Project, written: Any) -> str:
    if not isinstance(written, str) or not is_name(written):
        return ""
    path = Path(os.path.normpath(project.folder / written))
    if not path.is_relative_to(project.root) or not is_inside(project, path):
        return ""
    return os.path.relpath(path, project.folder)
