"""What an author declares as exports, and where ``myst`` puts each (read from mystmd 1.11's own rules, measured in tests)."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from builds.errors import ExportOutside, ExportUnwritable
from builds.stages import PlannedExport, Project

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
# What mystmd may call an export that was declared so: a PDF is made by LaTeX or by Typst, as its template decides.
MADE_AS = {"pdf": ("pdf", "typst", "pdf+tex"), "typst": ("typst",), "meca": ("meca",)}
EXTENSIONS = {"pdf": (".pdf",), "typst": (".pdf", ".typ", ".typst", ".zip"), "meca": (".zip", ".meca")}
# A zip that is found is a MECA, never Typst's sources.
FOUND_AS = {"pdf": (".pdf",), "typst": (".pdf", ".typ", ".typst"), "meca": (".zip", ".meca")}
DELIVERED = ("pdf", "typst", "meca")

# What is made for who declares no MECA: delivered under this name (CONTRACT §3), made where nothing of the author's can be in its way.
OWN_MECA = "exports/manuscript.meca.zip"
OWN_FOLDER = "_build/jobsite"
LONGEST_NAME, LONGEST_PATH = 240, 2000
# Of JSON, so much may take 200 MB of memory, and seconds in which this process does nothing else.
READ_BYTES = 8 << 20
BUILD_LOG = "_build/logs/myst.build.json"


@dataclass(frozen=True)
class Declared:
    """An entry of ``exports``. ``output`` is relative to the project file's folder, or empty where myst chooses."""

    format: str
    output: str = ""
    articles: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.format} ({self.output})" if self.output else self.format

    @property
    def is_folder(self) -> bool:
        return bool(self.output) and not PurePosixPath(self.output).suffix


def declared(entry: Any) -> Declared | None:
    """One entry as myst reads it; None where it declares nothing."""
    if isinstance(entry, str):
        return _declared_text(entry.strip())
    if not isinstance(entry, dict):
        return None
    output = entry.get("output")
    output = output.strip() if isinstance(output, str) else ""
    articles = tuple(_articles(entry))
    made_as = entry.get("format")
    if isinstance(made_as, str) and made_as.strip():
        return Declared(_format(made_as.strip()), output, articles)
    template = entry.get("template")
    if isinstance(template, str) and template.endswith("-typst"):
        return Declared("typst", output, articles)
    return Declared(_format_of_file(output), output, articles) if output or template else None


def _articles(entry: dict[str, Any]) -> Iterator[str]:
    """The pages that an export is of; none where myst chooses."""
    for listed in (entry.get("article"), entry.get("articles")):
        for article in listed if isinstance(listed, list) else [listed]:
            file = article.get("file") if isinstance(article, dict) else article
            if isinstance(file, str) and file.strip():
                yield file.strip()


def _declared_text(text: str) -> Declared | None:
    if text in FORMAT_BY_EXTENSION:
        return Declared(FORMAT_BY_EXTENSION[text])
    if "." in text:
        return Declared(_format_of_file(text), text)
    return Declared(_format(text)) if text else None


def _format(name: str) -> str:
    return {"jats": "xml", "tex+pdf": "pdf+tex"}.get(name, name)


def _format_of_file(name: str) -> str:
    return FORMAT_BY_EXTENSION.get(PurePosixPath(name).suffix, "pdf")


def delivered(entries: Sequence[Any]) -> list[Declared]:
    """Of each format that is delivered the first entry, in the order of delivery."""
    every = [export for export in map(declared, entries) if export]
    firsts = (next((export for export in every if export.format == format_), None) for format_ in DELIVERED)
    return [export for export in firsts if export]


def is_inside(project: Project, path: Path) -> bool:
    """Whether ``path`` really is in the repository: a build may have put a link anywhere, also in the place of the repository."""
    return not project.root.is_symlink() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(project.root))


def is_there(path: Path) -> bool:
    """Whether there is anything at what a stranger calls a path, be it a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError, RuntimeError):
        return False


def is_file(path: Path) -> bool:
    """The same of an ordinary file."""
    return is_there(path) and path.is_file()


def is_inside_folder(folder: Path, path: Path) -> bool:
    """Whether ``path`` is an ordinary file that really is in ``folder``, both by any name and with any links."""
    return is_file(path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_text(project: Project, path: Path, *, most: int = READ_BYTES) -> str:
    """A text file that a build may have made.

    Raises:
        OSError: it can't be read, is no ordinary file in the repository (a pipe would never end), or is too large.
    """
    if not is_inside(project, path) or not is_file(path) or path.stat().st_size > most:
        raise FileNotFoundError(errno.ENOENT, "no ordinary file in the repository", str(path))
    return path.read_text(encoding="utf-8")


def place(project: Project, output: str) -> Path:
    """The absolute path of an ``output``.

    Raises:
        ExportOutside: it is outside the repository, by its name or through a link.
        ExportUnwritable: nothing can be written there.
    """
    path = Path(os.path.normpath(project.folder / output))
    folder = path if path == project.root else path.parent
    if max(len(os.fsencode(part)) for part in path.parts) > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
        raise ExportUnwritable(f"The export output {output[:60]!r}… is longer than a file's name can be.", file=project.file.name)
    if not path.is_relative_to(project.root) or not is_inside(project, folder):
        raise ExportOutside(f"The export output {output!r} leads out of the repository.", file=project.file.name)
    for above in [folder, *folder.parents]:
        if (above.is_symlink() or above.exists()) and not above.is_dir():
            name = above.relative_to(project.root)
            why = f"{str(name)!r} in the repository is no folder"
            raise ExportUnwritable(f"The export output {output!r} can't be written: {why}.", file=project.file.name)
    return path


def check_place(project: Project, export: Declared) -> None:
    """Raises ExportOutside or ExportUnwritable unless the export can be written where its output says."""
    path = place(project, export.output)
    if export.output and not export.is_folder and path.is_dir():
        why = f"in the repository that is a folder, not a file of the format {export.format}"
        raise ExportUnwritable(f"The export output {export.output!r} can't be written: {why}.", file=project.file.name)


def remove_stale(project: Project, entries: Iterable[Any]) -> list[str]:
    """Delete declared outputs that the archive brought along: myst would bundle them, and they would pass for made.

    Returns the names of what was deleted.
    """
    removed = []
    for export in filter(None, map(declared, entries)):
        # What is a page's source is left alone: without it there would be nothing to build.
        if export.output and not export.is_folder and not export.output.endswith(SOURCE_SUFFIXES):
            path = place(project, export.output)
            if path.is_file() or path.is_symlink():
                path.unlink()
                removed.append(export.output)
    return removed


def planned(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> PlannedExport:
    """Where the export is after a build, whose exports by myst's own account are ``log``."""
    path = _made(project, export, log)
    return PlannedExport(export.format, _delivered_name(project, export, path), path, str(export), export.articles)


def own_meca(project: Project) -> PlannedExport:
    """The MECA that Jobsite makes by itself."""
    return PlannedExport("meca", f"/{OWN_MECA}".removesuffix(".zip"), project.folder / OWN_FOLDER / "manuscript.zip")


def _made(project: Project, export: Declared, log: Sequence[dict[str, Any]]) -> Path:
    exact = place(project, export.output) if export.output and not export.is_folder else None
    if exact and exact.exists():
        return exact
    from_log = [Path(entry["output"]) for entry in log if _may_be(entry, export, project, exact)]
    candidates = from_log or _found(project, export)
    return next((path for path in candidates if path.is_file()), None) or (
        exact or (from_log[0] if from_log else _default(project, export))
    )


def _may_be(entry: dict[str, Any], export: Declared, project: Project, exact: Path | None) -> bool:
    """Whether an entry of myst's account is this export. Two with one output are told apart there by ``_0``, ``_1``."""
    if entry.get("format") not in MADE_AS[export.format] or not isinstance(entry.get("output"), str):
        return False
    output = Path(entry["output"])
    if exact:
        return output.parent == exact.parent and output.stem.rsplit("_", 1)[0] == exact.stem and output.suffix == exact.suffix
    if export.is_folder and output.parent != place(project, export.output):
        return False
    return Path(str(entry.get("$file", ""))) == project.file


def _found(project: Project, export: Declared) -> list[Path]:
    """Files that a command without an account of myst may have made, the newest first; none for an exact output."""
    if export.output and not export.is_folder:
        return []
    folder = place(project, export.output) if export.output else project.folder / "_build" / "exports"
    pattern = "*" if export.output else "**/*"
    try:
        files = [path for path in folder.glob(pattern) if path.suffix in FOUND_AS[export.format] and path.is_file()]
    except RecursionError:  # folders in folders without end
        return []
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _default(project: Project, export: Declared) -> Path:
    folder = place(project, export.output) if export.output else project.folder / "_build" / "exports"
    return folder / f"{project.file.stem}{EXTENSIONS[export.format][0]}"


def _delivered_name(project: Project, export: Declared, path: Path) -> str:
    """CONTRACT §3: a PDF's base name; for a MECA the path from the project's folder, without its ``.zip``, after a slash."""
    exact = place(project, export.output) if export.output and not export.is_folder else path
    if export.format != "meca":
        return exact.name
    parts = [part for part in PurePosixPath(os.path.relpath(exact, project.folder)).parts if part != ".."]
    return "/" + "/".join(parts).removesuffix(".zip")


def account(project: Project) -> list[dict[str, Any]]:
    """The exports of the newest ``myst build`` by its own account; empty where there is none."""
    try:
        log = json.loads(read_text(project, project.folder / BUILD_LOG))
    except (OSError, ValueError, RecursionError):
        return []
    exports = log.get("exports") if isinstance(log, dict) else None
    return [entry for entry in exports if isinstance(entry, dict)] if isinstance(exports, list) else []
