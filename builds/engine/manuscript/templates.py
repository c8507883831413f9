"""The templates of a manuscript's exports, and the folders where ``myst`` looks for them before it uses the network.

Both follow the source of mystmd 1.11.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from builds.engine.manuscript import exports, inherited, page_exports
from builds.engine.manuscript.paths import exists
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import read_settings

DEFAULTS = {"typst": "lapreprint-typst", "docx": "default", "tex": "plain_latex", "pdf": "plain_latex", "pdf+tex": "plain_latex"}
KINDS = {"typst": "typst", "docx": "docx", "tex": "tex", "pdf": "tex", "pdf+tex": "tex"}
SITE = "book-theme"
NAME = re.compile(r"(?:(?:(?P<kind>tex|typst|docx|site)/)?(?P<owner>[\w-]+)/)?(?P<name>[\w-]+)", re.ASCII)
ADDRESS = re.compile(r"https://[\x21-\x5b\x5d-\x7e]{1,1000}")
FOLDER = PurePosixPath("_build/templates")
MAX_TEMPLATES = 20


@dataclass(frozen=True)
class Template:
    """``reference`` is what the author wrote, or myst's default. ``folder`` is relative to the project file's folder."""

    reference: str
    address: str
    folder: PurePosixPath


def find_templates(
    project: Project, service: str, *, site: bool = False, check: Callable[[], None] = lambda: None
) -> list[Template]:
    """The templates that the exports of the project and its pages need, each once; with ``site`` also its site's theme.

    ``service`` is the address that serves templates by name. Left out are templates in the repository, and invalid names, which
    myst reports. ``check`` is called for every page and may raise.
    """
    found: dict[PurePosixPath, Template] = {}
    settings = read_settings(project)
    templates = [_template(project, folder, entry, service) for folder, entry in _entries(project, settings, check)]
    if site:
        templates.insert(0, find_site_template(project, settings, service))
    for template in templates:
        if template and len(found) < MAX_TEMPLATES:
            found.setdefault(template.folder, template)
    return list(found.values())


def _entries(project: Project, settings: Mapping[str, Any], check: Callable[[], None]) -> Iterator[tuple[Path, Any]]:
    """Every entry of ``exports``, with the folder of the file that declares it."""
    listed = (*inherited.every_export(project, ()), *page_exports.listed(settings))
    yield from ((project.folder, entry) for entry in listed)
    yield from ((page.parent, entry) for page, entry in page_exports.read(project, check))


def _template(project: Project, folder: Path, entry: Any, service: str) -> Template | None:
    export = exports.parse(entry)
    if export is None or export.format not in KINDS:
        return None
    written = entry.get("template", _default(export.format)) if isinstance(entry, dict) else _default(export.format)
    if not isinstance(written, str) or exists(folder / written):
        return None
    return _of_kind(project, "typst" if written.endswith("-typst") else KINDS[export.format], written, service)


def find_site_template(project: Project, settings: Mapping[str, Any], service: str) -> Template | None:
    """The theme of the project's site. None if the project has no site, for then ``myst`` makes none, or if it is in the repository."""
    site = settings.get("site")
    if not isinstance(site, dict):
        return None
    written = site.get("template")
    return _of_kind(project, "site", SITE if written is None else str(written), service)


def _of_kind(project: Project, kind: str, written: str, service: str) -> Template | None:
    if exists(project.folder / written):
        return None
    if ADDRESS.fullmatch(written):
        return Template(written, written, FOLDER / kind / hashlib.sha256(written.encode()).hexdigest())
    if parts := NAME.fullmatch(written):
        name = f"{parts['kind'] or kind}/{parts['owner'] or 'myst'}/{parts['name']}"
        return Template(written, f"{service.rstrip('/')}/templates/{name}", FOLDER / name)
    return None


def _default(format_: str) -> str | None:
    """The template that myst uses if the author names none. A PDF's is for LaTeX, so there is none without LaTeX."""
    return None if format_ == "pdf" and not shutil.which("latexmk") else DEFAULTS[format_]
