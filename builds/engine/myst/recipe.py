"""The bundled recipe (CONTRACT §4): the ``myst`` commands that build a project, and workarounds for what myst can't do offline.

Each function runs ``myst`` in the project's folder and checks the files afterwards: its exit code proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builds.engine.context import Context
from builds.engine.findings.catalogue import exports as catalogue
from builds.engine.manuscript import articles, exports, inherited, limited, page_exports
from builds.engine.manuscript.exports import PlannedExport
from builds.engine.manuscript.paths import is_file, is_inside, is_inside_folder, read_beginning, read_bytes, resolve_output
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import OVERLAY, read_settings, write_overlay
from builds.engine.myst import doi_cache, site_theme, toolchain
from builds.engine.myst.blame import BEGINS, TypstPlaces
from builds.engine.myst.latex_log import LatexLogs
from builds.engine.myst.shell import Shell
from builds.lib.scan import Scan, encoded, needed

EXPORT_FLAGS = ("--docx", "--pdf", "--tex", "--typst", "--jats", "--md", "--cff", "--meca")
FLAGS = {name: f"--{name}" for name in ("docx", "pdf", "tex", "typst", "md", "cff", "meca")} | {
    "xml": "--jats",
    "pdf+tex": "--tex",
}
SITE = Path(site_theme.SITE)
INDEX_NAMES = ("index", "readme", "main")
# mystmd prints this if it can't bundle the project file: the list under ``toc`` is not indented deeper than its key.
TOC_BUG = "Invalid YAML was generated"
DROPPED = re.compile(r'Unhandled JATS conversion for node of "(?P<kind>\w{1,60})"')
# Nodes that hold nothing which the JATS should have: it lists its references itself.
HARMLESS = ("bibliography", "comment", "mystComment", "mystTarget")
MAX_DROPPED = 50
# None of the patterns above and below matches a line without one of these. Most output has none of them in any line.
NOTED_WORDS = ("error: ", TOC_BUG, "Unhandled JATS", "Could not find DOI")
NOTED = Scan(rf"{BEGINS}|{'|'.join(NOTED_WORDS[1:])}")
# Any key that may declare exports, in a page's front matter or in a notebook.
EXPORTS_KEY = re.compile(rb"\bexports?[\"']?\s*:")
UNKNOWN_DOI = re.compile(r'Could not find DOI "(?:doi:|https?://(?:dx\.)?doi\.org/)?(?P<doi>10\.[^"\s]{1,500})"')


class MystShell(Shell):
    """A shell that also notes the two problems of myst for which the recipe has a workaround, and the places of Typst's errors."""

    def __init__(self, context: Context, project: Project, environment: Mapping[str, str]) -> None:
        super().__init__(context, project, environment)
        self.met_toc_bug = False
        self.unknown_dois: set[str] = set()
        self.typst_places = TypstPlaces()
        self.dropped_nodes: dict[str, None] = {}
        self._latex_logs = LatexLogs(project)

    def run(self, argv: Sequence[str], *, shown: str = "") -> int:
        """The same, and the errors of LaTeX after it, which are only in its own log."""
        code = super().run(argv, shown=shown)
        for line in self._latex_logs.new_lines():
            self.take_lines("stdout", [line])
        return code

    def on_lines(self, lines: Sequence[str]) -> None:
        text = "\n".join(lines)
        noted = NOTED.matching(encoded(text)) if any(word in text for word in NOTED_WORDS) else ()
        for at in needed(noted, len(lines), lambda: self.typst_places.is_in_the_middle):
            self._note(lines[at])

    def _note(self, text: str) -> None:
        self.typst_places.see(text)
        self.met_toc_bug = self.met_toc_bug or TOC_BUG in text
        if (found := DROPPED.search(text)) and found["kind"] not in HARMLESS and len(self.dropped_nodes) < MAX_DROPPED:
            self.dropped_nodes[found["kind"]] = None
        if found := UNKNOWN_DOI.search(text):
            self.unknown_dois.add(found["doi"])


def make_exports(shell: MystShell, project: Project, sources: Sequence[Source] | None = None) -> None:
    """Make every export that the project and its pages declare, the MECA last; with ``sources`` only theirs.

    Without ``sources``, the same command makes the site's content too, if it can.
    """
    if sources is None:
        has_theme = site_theme.provide(project)
        _myst(shell, project.file.name, "build", *EXPORT_FLAGS, *(["--site"] if has_theme else []))
        if has_theme and site_theme.has_failed(project):
            _myst(shell, project.file.name, "build", *EXPORT_FLAGS)
        return
    formats = {flag for source in sources for flag in source.flags}
    flags = [flag for flag in EXPORT_FLAGS if flag in formats]
    if flags:
        _myst(shell, project.file.name, "build", *(source.file for source in sources), *flags)


def renew_meca(shell: MystShell, project: Project) -> None:
    """Make the declared MECA again, with the exports that exist now."""
    _myst(shell, project.file.name, "build", "--meca")


@dataclass(frozen=True)
class Source:
    """A file that declares exports, relative to the project file's folder, and myst's flags for their formats."""

    file: str
    flags: frozenset[str]


def contained_sources(project: Project, declared: Sequence[Any], by_pages: Sequence[tuple[Path, Any]]) -> list[Source] | None:
    """The files whose exports are delivered or contained in the MECA, if other pages declare some as well. Otherwise None.

    A book may declare a PDF of each page, and each is made over the whole book: minutes for files that nobody gets.
    """
    root = root_source(project)
    of_root = [entry for page, entry in by_pages if root and page == project.folder / root]
    if len(of_root) == len(by_pages) or root is None or _extends_address(project):
        return None
    sources = [Source(project.file.name, _flags(declared)), Source(str(root), _flags(of_root))]
    return [source for source in sources if source.flags]


def _flags(entries: Sequence[Any]) -> frozenset[str]:
    parsed = (exports.parse(entry) for entry in entries)
    return frozenset(FLAGS[export.format] for export in parsed if export and export.format in FLAGS)


def _extends_address(project: Project) -> bool:
    """Whether the project file inherits from an address, where it may declare anything."""
    settings = read_settings(project)
    return "://" in str(settings.get("extends", settings.get("extend", "")))


def declares_none(project: Project, by_pages: Sequence[tuple[Path, Any]]) -> bool:
    """Whether the project has no exports for ``myst`` to make: neither its file nor a page whose exports a MECA contains declares any."""
    root, settings = root_source(project), read_settings(project)
    if root is None or not settings.get("project"):  # myst would make a MECA without a JATS of it
        return False
    if by_pages or _extends_address(project) or inherited.every_export(project, ()):
        return False
    try:
        beginning = read_beginning(project, project.folder / root, page_exports.MAX_BEGINNING_BYTES)
    except OSError:
        return False
    return EXPORTS_KEY.search(beginning) is None


def make_meca_and_site(shell: MystShell, project: Project, output: Path) -> None:
    """Try to make a MECA of the whole project at ``output``, and the site's content if the same command can make it."""
    site = ["--all"] if site_theme.provide(project) else []  # --site makes none beside the export of a file
    _myst(shell, project.file.name, "build", project.file.name, "--meca", "-o", _target(project, output), *site)


def make_meca(shell: MystShell, project: Project, output: Path) -> int:
    """Make a MECA of the whole project at ``output``, with any extension. Returns the exit code.

    Named by the project file, its JATS holds every page; by the root page, only that one.
    """
    page = root_source(project)
    if page is None:
        return 1
    made = output if output.suffix in exports.EXTENSIONS["meca"] else project.folder / exports.OWN_FOLDER / "declared.zip"
    target = _target(project, made)
    code = 1
    if read_settings(project).get("project"):  # without one, myst makes a MECA without a JATS of it
        code = _myst(shell, project.file.name, "build", project.file.name, "--meca", "-o", target)
    if not made.is_file() and not shell.met_toc_bug:
        code = _myst(shell, project.file.name, "build", str(page), "--meca", "-o", target)
    if made != output and _copy(project, made, output):
        shell.context.find(catalogue.MECA_EXTENSION, name=output.name)
    return code


def _target(project: Project, output: Path) -> str:
    """The path of an output as an argument of ``myst``. Makes its folder."""
    _make_folder(project, output)
    return str(output.relative_to(project.folder)) if output.is_relative_to(project.folder) else str(output)


def make_site_content(shell: MystShell, project: Project) -> Path | None:
    """Make the site's content with an empty theme, and return the root page's JSON; None if that failed.

    The first try uses the author's site settings; if that fails (a remote part can't be fetched), the second leaves them out.
    """
    theme = {"template": str(toolchain.SITE_THEME)}
    # Without a project in the file, myst does not make a site.
    extra = {} if read_settings(project).get("project") else {"project": {"title": project.folder.name}}
    with _overlay(project) as (name, path):
        path.write_text(json.dumps({"version": 1, "extends": project.file.name, "site": theme, **extra}))
        _myst(shell, name, "build", "--site")
    if not root_page(project):
        with _overlay(project) as (name, path):
            write_overlay(project, path, top={"site": theme, **extra}, in_project={})
            _myst(shell, name, "build", "--site")
    return root_page(project)


def make_own_pdf(shell: MystShell, project: Project, plan: PlannedExport) -> bool:
    """Make the planned PDF with our own Typst template. Returns whether that worked."""
    made = Path(exports.OWN_FOLDER) / f"{plan.role}{plan.path.suffix.lower()}"
    # If no article is named, myst uses every page but the first.
    pages = plan.articles if plan.by_author else articles.with_root(root_source(project), plan.articles)
    export = {"format": "typst", "template": str(toolchain.TYPST_TEMPLATE), "output": str(made)}
    exports_of_one = [{**export, "articles": articles.for_typst(pages)} if pages else export]
    with _overlay(project) as (name, path):
        write_overlay(project, path, top={"site": None}, in_project={"exports": exports_of_one})
        _myst(shell, name, "build", "--typst")
        if not (project.folder / made).is_file() and shell.unknown_dois:
            with _placeholder_references(project, shell.unknown_dois):
                _myst(shell, name, "build", "--typst")
            _warn_about_references(shell)
    return _copy(project, project.folder / made, plan.path)


@contextmanager
def _placeholder_references(project: Project, dois: Iterable[str]) -> Iterator[None]:
    """Put a reference for each DOI into myst's cache while a command runs: mystmd makes no PDF with a DOI that it can't look up."""
    made = []
    for doi in dois:
        path = (
            project.folder / "_build" / "cache" / f"doi-{hashlib.md5(doi.encode(), usedforsecurity=False).hexdigest()}.csl.json"
        )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([doi_cache.placeholder(doi)]))
            made.append(path)
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _warn_about_references(shell: MystShell) -> None:
    for doi in sorted(shell.unknown_dois):
        shell.context.find(catalogue.DOI_UNKNOWN, doi=doi, why="the build could not look it up")


def _copy(project: Project, made: Path, output: Path) -> bool:
    """Copy the file that was made to its output. Returns whether there was one."""
    _make_folder(project, output)
    if not made.is_file() or not is_inside(project, made) or output.is_symlink():
        return False
    if made != output:
        shutil.copyfile(made, output)
    return True


def _make_folder(project: Project, output: Path) -> None:
    """Create the folder of an output.

    Raises:
        ExportOutside: it is outside the repository, because a command replaced it by a link.
    """
    resolve_output(project, str(output)).parent.mkdir(parents=True, exist_ok=True)


def root_page(project: Project) -> Path | None:
    """The JSON of the site's root page; None if there is no site content."""
    content = project.folder / SITE / "content"
    slug = _value_in(project, project.folder / SITE / "config.json", "projects", 0, "index")
    for name in (slug, "index"):
        path = content / f"{name}.json"
        if isinstance(name, str) and is_inside_folder(content, path):
            return path
    return None


def root_source(project: Project) -> Path | None:
    """The root page's source, relative to the project's folder: from the site's content, else the toc, else the names that myst tries."""
    page = root_page(project)
    location = _value_in(project, page, "location") if page else None
    names = [location.lstrip("/") if isinstance(location, str) else "", _first_in_toc(project), *_index_files(project)]
    return next((Path(name) for name in names if name and is_file(project.folder / name)), None)


def _first_in_toc(project: Project) -> str:
    settings = read_settings(project).get("project")
    toc = settings.get("toc") if isinstance(settings, dict) else None
    while isinstance(toc, list) and toc and isinstance(toc[0], dict):
        if isinstance(toc[0].get("file"), str):
            return str(toc[0]["file"])
        toc = toc[0].get("children")
    return ""


def _index_files(project: Project) -> list[str]:
    sources = sorted(path.name for path in project.folder.iterdir() if path.name.endswith(exports.SOURCE_SUFFIXES))
    return sorted(sources, key=lambda name: _index_rank(name.split(".")[0].lower()))


def _index_rank(stem: str) -> int:
    return INDEX_NAMES.index(stem) if stem in INDEX_NAMES else len(INDEX_NAMES)


def _myst(shell: MystShell, config: str, *arguments: str) -> int:
    selected = () if config == "myst.yml" else ("--config", config)
    return shell.run(["myst", *selected, *arguments])


@contextmanager
def _overlay(project: Project) -> Iterator[tuple[str, Path]]:
    """A place for our own project file beside the author's, while one command runs: it must not end up in a bundle."""
    path = resolve_output(project, OVERLAY)
    path.unlink(missing_ok=True)
    try:
        yield path.name, path
    finally:
        path.unlink(missing_ok=True)


def _value_in(project: Project, path: Path, *place: str | int) -> Any:
    """A value in a file of JSON that myst made; None if there is none."""
    try:
        [value] = limited.json_values(read_bytes(project, path), place)
    except OSError:
        return None
    return value
