"""Puts the templates that a manuscript names where ``myst`` looks before it downloads (read from mystmd 1.11's own rules).

The service fetches them, never the build, and keeps them for all (:mod:`builds.template_cache`). What can't be had is a warning: the build
goes on without.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from builds import exports, myst
from builds.clients.templates import TemplateHost
from builds.clients.waiting import until_stopped
from builds.errors import ArchiveUnsafe, BuildError, TemplateFailed
from builds.stages import Context, Limits, Project
from builds.stages.unpack import extract
from builds.template_cache import TemplateCache

DEFAULTS = {"tex": "myst/plain_latex", "typst": "myst/lapreprint-typst", "docx": "myst/default", "site": "myst/book-theme"}
KINDS = {"pdf": "tex", "pdf+tex": "tex", "tex": "tex", "typst": "typst", "docx": "docx"}
SHORT, NAME, FULL = (re.compile(text) for text in (r"[\w-]+", r"[\w-]+/[\w-]+", r"(site|tex|typst|docx)/[\w-]+/[\w-]+"))
LONGEST = 2048
MOST_TEMPLATES = 10
SECONDS = 60.0
ZIP_BYTES = 50 << 20
LIMITS = {"unpacked_bytes": 200 << 20, "entry_bytes": 50 << 20, "entries": 10_000, "ratio_from_bytes": 10 << 20}


@dataclass(frozen=True)
class Templates:
    """Where templates come from, and where they are kept."""

    host: TemplateHost
    cache: TemplateCache


@dataclass(frozen=True)
class Reference:
    """A template: what the author calls it, where it is, and the folder below ``_build/templates`` where myst looks for it."""

    name: str
    address: str
    folder: str


def place(ctx: Context, project: Project, *, bundled: bool) -> None:
    """Put copies of the templates into the workspace, before anything of the build runs."""
    if ctx.templates is None:
        return
    ends_at = time.monotonic() + SECONDS
    found = list(dict.fromkeys(references(ctx, project, ctx.templates.host, bundled=bundled)))
    for reference in found[:MOST_TEMPLATES]:
        target = project.folder / "_build" / "templates" / reference.folder
        if not _is_free(project, target):
            continue
        try:
            _put(ctx, ctx.templates, reference, target, ends_at)
        except (BuildError, OSError) as error:
            shutil.rmtree(target, ignore_errors=True)
            why = error.sentence.rstrip(".") if isinstance(error, BuildError) else error.strerror
            ctx.log.warning(f"The template {reference.name[:200]!r} could not be had: {why}. The build goes on without it.")


def _is_free(project: Project, target: Path) -> bool:
    """Whether nothing of the author's is there, nor a link on the way."""
    above = [path for path in target.parents if path.is_relative_to(project.folder)]
    return not any(path.is_symlink() or (path.exists() and not path.is_dir()) for path in above) and not os.path.lexists(target)


def _put(ctx: Context, templates: Templates, reference: Reference, target: Path, ends_at: float) -> None:
    def fetch(path: Path) -> None:
        left = max(ends_at - time.monotonic(), 1.0)
        ctx.log.line(f"Fetching the template {reference.name[:200]!r} for this and later builds.")
        until_stopped(
            ctx.stop,
            lambda: templates.host.download(reference.address, path, most_bytes=ZIP_BYTES, seconds=left),
        )
        scratch = ctx.workspace / "template"
        try:
            _unpack(ctx, path, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    with templates.cache.held(reference.address, fetch, ctx.stop) as path:
        target.parent.mkdir(parents=True, exist_ok=True)
        _unpack(ctx, path, target)


def _unpack(ctx: Context, path: Path, root: Path) -> None:
    """As a repository is unpacked, with smaller limits and without links.

    Raises:
        TemplateFailed: it is no template, or can't be unpacked safely.
    """
    limits: Limits = replace(ctx.limits, **LIMITS)  # type: ignore[arg-type]
    try:
        entries, _pointers = extract(replace(ctx, limits=limits, report=_Silent()), path, root)
        if entries.links:
            raise ArchiveUnsafe(f"The repository can't be unpacked: {next(iter(entries.links))!r}: it is a link.")
    except TemplateFailed:
        raise
    except BuildError as error:
        raise TemplateFailed(error.sentence.replace("repository", "template")) from error
    if not (root / "template.yml").is_file():
        raise TemplateFailed("what its host sent is no template: it holds no template.yml")


class _Silent:
    """Tells nothing: the stage's row is the build's own."""

    def detail(self, text: str) -> None: ...

    def progress(self, done: int, total: int | None) -> None: ...

    def command(self, *, argv: Sequence[str], version: str = "") -> None: ...

    def exited(self, *, exit_code: int | None, peak_memory_bytes: int | None) -> None: ...

    def commit(self, *, commit: str, ref: str, path: str) -> None: ...


# --- what a manuscript names


def references(ctx: Context, project: Project, host: TemplateHost, *, bundled: bool) -> Iterator[Reference]:
    """The templates of the declared exports; with a command of the repository's own also the site's (ours is used otherwise)."""
    settings = myst.read_settings(project)
    about = settings.get("project")
    listed = about.get("exports") if isinstance(about, dict) else None
    for entry in [*ctx.declared_exports, *(listed if isinstance(listed, list) else [listed])]:
        kind = _kind(entry)
        template = entry.get("template", "") if isinstance(entry, dict) else ""
        if kind and isinstance(template, str) and (found := reference(project, host, kind, template)):
            yield found
    site = settings.get("site")
    if isinstance(site, dict) and not bundled:
        template = site.get("template")
        if found := reference(project, host, "site", template if isinstance(template, str) else ""):
            yield found


def _kind(entry: Any) -> str:
    """What kind of template an export takes; empty where it takes none."""
    export = exports.declared(entry)
    template = entry.get("template") if isinstance(entry, dict) else None
    if export is None:
        return ""
    if export.format == "pdf" and isinstance(template, str):
        return {"typst": "typst", "docx": "docx"}.get(template.rpartition("-")[2], "tex")
    return KINDS.get(export.format, "")


def reference(project: Project, host: TemplateHost, kind: str, template: str) -> Reference | None:
    """None for what is no registry's: a path, or an address that is not HTTPS."""
    if len(template) > LONGEST or not template.isascii():
        return None
    if template:
        with suppress(OSError, ValueError):
            if (project.folder / template).exists():
                return None
    if template.startswith("https://"):
        hashed = hashlib.sha256(template.encode()).hexdigest()
        return Reference(template, template, f"{kind}/{hashed}") if _is_plain(template) else None
    name = _full_name(kind, template)
    return Reference(template or DEFAULTS[kind], host.address(name), name) if name else None


def _is_plain(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return (
            bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0 and address.isprintable() and " " not in address
        )
    except ValueError:
        return False


def _full_name(kind: str, template: str) -> str:
    if not template:
        return f"{kind}/{DEFAULTS[kind]}"
    if SHORT.fullmatch(template):
        return f"{kind}/myst/{template}"
    if NAME.fullmatch(template):
        return f"{kind}/{template}"
    return template if FULL.fullmatch(template) else ""
