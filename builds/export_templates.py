"""Which templates a manuscript names for its exports, and where ``myst`` looks for each before it asks the network (read from
mystmd 1.11's own rules)."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml.error import YAMLError

from builds.exports import declared, is_there, read_text
from builds.myst import read_settings, read_yaml
from builds.stages import Project

DEFAULTS = {"typst": "lapreprint-typst", "docx": "default", "tex": "plain_latex", "pdf": "plain_latex", "pdf+tex": "plain_latex"}
KINDS = {"typst": "typst", "docx": "docx", "tex": "tex", "pdf": "tex", "pdf+tex": "tex"}
SITE = "book-theme"
NAME = re.compile(r"(?:(?:(?P<kind>tex|typst|docx|site)/)?(?P<owner>[\w-]+)/)?(?P<name>[\w-]+)", re.ASCII)
ADDRESS = re.compile(r"https://[\x21-\x5b\x5d-\x7e]{1,1000}")
FOLDER = PurePosixPath("_build/templates")
MOST, MOST_PAGES, PAGE_BYTES = 20, 1000, 5_000_000
# Of front matter that tells of exports, in characters: some five seconds.
READ_AT_MOST = 500_000
TELLS = re.compile(r"^[\"']?exports?[\"']?\s*:", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.{0,65536}?)^(?:---|\.\.\.)[ \t]*\r?$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Template:
    """``reference`` is what the author wrote, or myst's default; ``folder`` is relative to the project file's folder."""

    reference: str
    address: str
    folder: PurePosixPath


def named(project: Project, service: str, *, site: bool = False, check: Callable[[], None] = lambda: None) -> list[Template]:
    """The templates that the exports of the project and of its pages need, each once; those that ``service`` (an address) has by name.
    With ``site`` also the one of its site.

    Those that lie in the repository are left out, and so is what is no name of a template: myst says so itself. ``check`` is called often
    and may raise.
    """
    found: dict[PurePosixPath, Template] = {}
    settings = read_settings(project)
    templates = [_template(project, folder, entry, service) for folder, entry in _entries(project, settings, check)]
    if site:
        templates.insert(0, _site_template(project, settings, service))
    for template in templates:
        if template and len(found) < MOST:
            found.setdefault(template.folder, template)
    return list(found.values())


def _entries(project: Project, settings: Mapping[str, Any], check: Callable[[], None]) -> Iterator[tuple[Path, Any]]:
    """Every declared export, with the folder of the file that declares it."""
    for holder in (settings.get("project"), settings):
        yield from ((project.folder, entry) for entry in _declared_in(holder))
    left = READ_AT_MOST
    for page in sorted(_pages(project))[:MOST_PAGES]:
        check()
        text = _front_matter(project, page)
        left -= len(text)
        if left < 0:
            return
        yield from ((page.parent, entry) for entry in _declared_in(_read(text)))


def _declared_in(holder: Any) -> Iterator[Any]:
    for name in ("exports", "export"):
        listed = holder.get(name) if isinstance(holder, dict) else None
        yield from listed if isinstance(listed, list) else [listed] if listed else []


def _pages(project: Project) -> Iterator[Path]:
    for path in project.folder.rglob("*.md"):
        if not any(part.startswith((".", "_")) for part in path.relative_to(project.folder).parts):
            yield path


def _front_matter(project: Project, page: Path) -> str:
    """A page's front matter, if it tells of exports and has no merges, which may be dear; else nothing."""
    with suppress(OSError, ValueError):
        found = FRONT_MATTER.match(read_text(project, page, most=PAGE_BYTES))
        if found and TELLS.search(found[1]) and "<<" not in found[1] and "!!" not in found[1]:
            return found[1]
    return ""


def _read(text: str) -> Any:
    try:
        return read_yaml(text) if text else None
    except (ValueError, YAMLError, RecursionError):
        return None


def _template(project: Project, folder: Path, entry: Any, service: str) -> Template | None:
    export = declared(entry)
    if export is None or export.format not in KINDS:
        return None
    written = entry.get("template", _default(export.format)) if isinstance(entry, dict) else _default(export.format)
    if not isinstance(written, str) or is_there(folder / written):
        return None
    return _of_kind(project, "typst" if written.endswith("-typst") else KINDS[export.format], written, service)


def _site_template(project: Project, settings: Mapping[str, Any], service: str) -> Template | None:
    """None where the project has no site: then ``myst`` makes none."""
    site = settings.get("site")
    if not isinstance(site, dict):
        return None
    written = site.get("template")
    return _of_kind(project, "site", SITE if written is None else str(written), service)


def _of_kind(project: Project, kind: str, written: str, service: str) -> Template | None:
    if is_there(project.folder / written):
        return None
    if ADDRESS.fullmatch(written):
        return Template(written, written, FOLDER / kind / hashlib.sha256(written.encode()).hexdigest())
    if parts := NAME.fullmatch(written):
        name = f"{parts['kind'] or kind}/{parts['owner'] or 'myst'}/{parts['name']}"
        return Template(written, f"{service.rstrip('/')}/templates/{name}", FOLDER / name)
    return None


def _default(format_: str) -> str | None:
    """What myst takes where the author names none; a PDF's is for LaTeX, so of no use without."""
    return None if format_ == "pdf" and not shutil.which("latexmk") else DEFAULTS[format_]
