"""The exports that an author declares, and where ``myst`` puts each (by the source of mystmd 1.11; tests check it with the real one)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from builds.engine.manuscript import articles, limited
from builds.engine.manuscript.articles import Article
from builds.engine.manuscript.paths import is_inside, is_name, read_bytes, resolve_output
from builds.engine.manuscript.project import Project
from builds.errors import ExportUnwritable

FORMAT_BY_EXTENSION = {
    ".pdf": "pdf",
    ".tex": "tex",
    ".doc": "docx",
    ".docx": "docx",
    ".md": "md",
    ".zip": "meca",
    ".meca": "meca",
    ".xml": "xml",
    ".jats": "xml",
    ".typ": "typst",
    ".typst": "typst",
    ".cff": "cff",
}
SOURCE_SUFFIXES = (".md", ".ipynb", ".myst.json", ".tex")
# The formats that mystmd may report for a declared one: the template decides whether LaTeX or Typst makes a PDF.
MADE_AS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("typst", "meca", "docx", "tex", "pdf+tex", "xml", "md", "cff")},
    "pdf": ("pdf", "typst", "pdf+tex"),
}
EXTENSIONS = {
    "pdf": (".pdf",),
    "typst": (".pdf", ".typ", ".typst", ".zip"),
    "meca": (".zip", ".meca"),
    "docx": (".docx", ".doc"),
    "tex": (".tex",),
    "pdf+tex": (".pdf", ".tex"),
    "xml": (".xml", ".jats"),
    "md": (".md",),
    "cff": (".cff",),
}
# The same for a search in a folder, where a zip is a MECA and never Typst's sources.
FOUND_AS = {**EXTENSIONS, "typst": (".pdf", ".typ", ".typst")}
DELIVERED = ("pdf", "typst", "meca")

# The MECA that Jobsite adds if none is declared: its delivered name (CONTRACT §3), and a folder that no author's file can block.
OWN_MECA = "exports/manuscript.meca.zip"
OWN_FOLDER = "_build/jobsite"
BUILD_LOG = "_build/logs/myst.build.json"


@dataclass(frozen=True)
class Declared:
    """An entry of ``exports``. ``output`` is relative to the project file's folder; empty if myst chooses it."""

    format: str
    output: str = ""
    articles: tuple[str, ...] = ()
    template: str = ""

    def __str__(self) -> str:
        return f"{self.format} ({self.output})" if self.output else self.format

    @property
    def is_folder(self) -> bool:
        return bool(self.output) and not PurePosixPath(self.output).suffix


@dataclass(frozen=True)
class PlannedExport:
    """An export that a build has to make. ``path`` is the absolute path that it must have, inside the repository.

    ``role`` and ``name`` as in :class:`Export`. ``declared`` is the author's own entry; empty for an export that Jobsite adds.
    ``articles`` are the pages that myst puts there, if they are known. ``by_author`` says that the author named them, and
    ``is_logged`` that myst tried to make the export, as far as its log says. ``template`` is the author's.
    """

    role: str
    name: str
    path: Path
    declared: str = ""
    articles: tuple[Article, ...] = ()
    by_author: bool = False
    is_logged: bool = False
    template: str = ""


@dataclass(frozen=True)
class Export:
    """A file to deliver: the file itself or, for a MECA, every file in the zip at ``path``.

    ``name`` is the part's filename in CONTRACT §3; for a MECA the folder that contains its files.
    ``role`` is one of ``pdf``, ``typst``, ``meca``, ``page-content``. ``pages`` counts those of a PDF; 0 where it is not known.
    """

    role: str
    name: str
    path: Path
    size: int
    sha256: str
    pages: int = 0

    def is_regular(self) -> bool:
        """Whether ``path`` is an ordinary file, and no link."""
        return stat.S_ISREG(self.path.lstat().st_mode)

    def open(self) -> IO[bytes]:
        return self.path.open("rb")


def parse(entry: Any) -> Declared | None:
    """One entry of ``exports``, as myst reads it; None if it declares nothing."""
    if isinstance(entry, str):
        return _parse_text(entry.strip())
    if not isinstance(entry, dict):
        return None
    output = entry.get("output")
    output = output.strip() if isinstance(output, str) else ""
    pages = tuple(_articles(entry))
    template = entry["template"] if isinstance(entry.get("template"), str) else ""
    made_as = entry.get("format")
    if isinstance(made_as, str) and made_as.strip():
        return Declared(_format(made_as.strip()), output, pages, template)
    if template.endswith("-typst"):
        return Declared("typst", output, pages, template)
    return Declared(_format_of_file(output), output, pages, template) if output or template else None


def _articles(entry: dict[str, Any]) -> Iterator[str]:
    """The pages that an export contains; none if myst chooses them."""
    for listed in (entry.get("article"), entry.get("articles")):
        for article in listed if isinstance(listed, list) else [listed]:
            file = article.get("file") if isinstance(article, dict) else article
            if isinstance(file, str) and file.strip():
                yield file.strip()


def _parse_text(text: str) -> Declared | None:
    if text in FORMAT_BY_EXTENSION:
        return Declared(FORMAT_BY_EXTENSION[text])
    if "." in text:
        return Declared(_format_of_file(text), text)
    return Declared(_format(text)) if text else None


def _format(name: str) -> str:
    return {"jats": "xml", "tex+pdf": "pdf+tex"}.get(name, name)


def _format_of_file(name: str) -> str:
    return FORMAT_BY_EXTENSION.get(PurePosixPath(name).suffix, "pdf")


def select_delivered(entries: Sequence[Any]) -> list[Declared]:
    """The first entry of each delivered format, in the order of delivery."""
    every = [export for export in map(parse, entries) if export]
    firsts = (next((export for export in every if export.format == format_), None) for format_ in DELIVERED)
    return [export for export in firsts if export]


def check_output(project: Project, export: Declared) -> None:
    """Raise ExportOutside or ExportUnwritable if the export can't be written to its output."""
    path = resolve_output(project, export.output)
    if export.output and not export.is_folder and path.is_dir():
        why = "the repository has a folder of that name"
        raise ExportUnwritable(f"The export output {export.output!r} can't be written: {why}.", file=project.file.name)


def remove_stale(project: Project, entries: Iterable[Any]) -> list[str]:
    """Delete declared outputs that came with the archive: myst would bundle them, and they would pass for results of this build.

    Returns the outputs that were deleted.
    """
    removed = []
    for export in filter(None, map(parse, entries)):
        # A page's source stays: without it there would be nothing to build.
        if export.output and not export.is_folder and not export.output.endswith(SOURCE_SUFFIXES):
            path = resolve_output(project, export.output)
            if path.is_file() or path.is_symlink():
                path.unlink()
                removed.append(export.output)
    return removed


def plan(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> PlannedExport:
    """Where the export is after a build. ``log`` is what :func:`read_build_log` returned."""
    path = _made(project, export, log)
    entry = _entry(project, export, log)
    pages = articles.of_entry(project, entry) if entry else articles.of_project(project, log)
    by_page = entry is not None and Path(str(entry.get("$file", ""))) != project.file  # declared in a page's front matter
    if export.articles and not pages:
        pages = tuple({"file": file} for file in export.articles)
    name = _delivered_name(project, export, path)
    return PlannedExport(
        export.format,
        name,
        path,
        str(export),
        pages,
        by_author=bool(export.articles) or by_page,
        is_logged=entry is not None or not log,
        template=export.template if is_name(export.template) else "",
    )


def _entry(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The export in myst's log."""
    exact = resolve_output(project, export.output) if export.output and not export.is_folder else None
    return next((entry for entry in log if _matches(entry, export, project, exact)), None)


def plan_own_meca(project: Project) -> PlannedExport:
    """The MECA that Jobsite adds if none is declared."""
    return PlannedExport("meca", f"/{OWN_MECA}".removesuffix(".zip"), project.folder / OWN_FOLDER / "manuscript.zip")


def _made(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> Path:
    exact = resolve_output(project, export.output) if export.output and not export.is_folder else None
    if exact and exact.exists():
        return exact
    from_log = [Path(entry["output"]) for entry in log if _matches(entry, export, project, exact)]
    candidates = from_log or _search(project, export)
    return next((path for path in candidates if path.is_file()), None) or (
        exact or (from_log[0] if from_log else _default(project, export))
    )


def _matches(entry: dict[str, Any], export: Declared, project: Project, exact: Path | None) -> bool:
    """Whether an entry of myst's log is this export. myst appends ``_0``, ``_1`` to the names of two exports with one output.

    The build can forge its log. A path outside the repository is not even looked at: the error would tell whether it exists.
    """
    if entry.get("format") not in MADE_AS[export.format] or not isinstance(entry.get("output"), str):
        return False
    if not is_name(entry["output"]):
        return False
    output = Path(os.path.normpath(entry["output"]))
    if not output.is_relative_to(project.root) or not is_inside(project, output):
        return False
    if exact:
        return output.parent == exact.parent and output.stem.rsplit("_", 1)[0] == exact.stem and output.suffix == exact.suffix
    if export.is_folder and output.parent != resolve_output(project, export.output):
        return False
    return Path(str(entry.get("$file", ""))) == project.file


def _search(project: Project, export: Declared) -> list[Path]:
    """Files that a command without a log of myst may have made, newest first; none if the output names a file."""
    if export.output and not export.is_folder:
        return []
    folder = resolve_output(project, export.output) if export.output else project.folder / "_build" / "exports"
    pattern = "*" if export.output else "**/*"
    try:
        files = [path for path in folder.glob(pattern) if path.suffix in FOUND_AS[export.format] and path.is_file()]
    except RecursionError:  # the folders are nested too deeply
        return []
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _default(project: Project, export: Declared) -> Path:
    folder = resolve_output(project, export.output) if export.output else project.folder / "_build" / "exports"
    return folder / f"{project.file.stem}{EXTENSIONS[export.format][0]}"


def _delivered_name(project: Project, export: Declared, path: Path) -> str:
    """CONTRACT §3: a PDF's base name; for a MECA the path from the project's folder, without its ``.zip``, after a slash."""
    exact = resolve_output(project, export.output) if export.output and not export.is_folder else path
    if export.format != "meca":
        return exact.name
    parts = [part for part in PurePosixPath(os.path.relpath(exact, project.folder)).parts if part != ".."]
    return "/" + "/".join(parts).removesuffix(".zip")


def read_build_log(project: Project) -> list[dict[str, Any]]:
    """The exports in the log of the newest ``myst build``; empty if there is no log."""
    try:
        [exports] = limited.json_values(read_bytes(project, project.folder / BUILD_LOG), ["exports"])
    except OSError:
        return []
    return [entry for entry in exports if isinstance(entry, dict)] if isinstance(exports, list) else []
