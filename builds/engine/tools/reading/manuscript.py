"""Checks all sources of a manuscript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import pages, tex
from .bibliography import check_bibliographies
from .found import Found, found
from .markdown import Markdown
from .notebooks import Notebook, joined
from .pages import Page, Site, labels_of, normalized
from .project import Project, check_project
from .source import Source

MAX_INCLUDED = 500
NOT_MARKDOWN = (".ipynb", ".tex", ".myst.json")


def check(root: Path, file: Path, *, runs_code: bool = False, converts_eps: bool = True) -> Iterator[Found]:
    """Every finding of the manuscript whose project file is ``file``, in the repository ``root``."""
    project = Project(root, file)
    yield from check_project(project)
    read = [page for path in project.pages if (page := _read(root, path))]
    included = list(_included(read, project))
    labels = frozenset(_labels([page.text for page in read] + [source.text or "" for source in included], read))
    site = Site(root, project.folder, labels, runs_code, converts_eps)
    for number, page in enumerate(read):
        if isinstance(page, Notebook):
            yield from pages.check_notebook(page, site, is_needed=project.is_explicit or number == 0)
        elif not _is_housekeeping(page, project, number):
            notes = [source.text or "" for source in included]
            yield from pages.check_page(page, site, is_root=number == 0, included=notes)
    texts_of_all = [page.text for page in read if isinstance(page, Page)] + [source.text or "" for source in included]
    for source in included:
        yield from pages.check_included(source, site, texts_of_all)
    sources = list(tex.sources(root, project.pages))
    for each in sources:
        yield from tex.check(each, root, is_root=[each.source.path] == project.pages[:1])
    yield from _thumbnails(read, site)
    cited = "\n".join([page.text for page in (*read, *sources)] + [source.text or "" for source in included])
    yield from check_bibliographies(root, _bibliographies(project), cited)


def _read(root: Path, path: Path) -> Page | Notebook | None:
    """A page; None for LaTeX, which is read otherwise, for AST files, and for links that lead out of the repository."""
    if not path.resolve().is_relative_to(root.resolve()):
        return None
    name = path.name.lower()
    if name.endswith(".ipynb"):
        return Notebook.at(root, path)
    return Page(Source(root, path)) if name.endswith(".md") else None


def _is_housekeeping(page: Page, project: Project, number: int) -> bool:
    """Whether a page that no contents list names is about the repository and not part of the manuscript."""
    return bool(number) and not project.is_explicit and page.path.stem.lower() in pages.HOUSEKEEPING


def _included(read: list[Page | Notebook], project: Project) -> Iterator[Source]:
    """The texts that pages include, also those that these include."""
    site = Site(project.root, project.folder, frozenset(), runs_code=False, converts_eps=True)
    waiting = [(page.markdown, page.path) for page in read if isinstance(page, Page) and page.front is not None]
    seen = {page.source.path for page in read}
    while waiting and len(seen) < MAX_INCLUDED:
        text, path = waiting.pop()
        for directive in text.directives:
            literal = {"literal", "lang", "language", "code"} & directive.options.keys()
            if directive.name != "include" or literal or not directive.argument:
                continue
            file = pages.resolve(directive.argument, path, site)
            if file is not None and file not in seen and not file.name.endswith(NOT_MARKDOWN):
                seen.add(file)
                source = Source(project.root, file)
                yield source
                waiting.append((Markdown(source.text or ""), file))


def _labels(texts: list[str], read: list[Page | Notebook]) -> Iterator[str]:
    for text in texts:
        yield from labels_of(text)
    for page in read:
        for cell in page.cells or [] if isinstance(page, Notebook) else []:
            yield from _cell_labels(cell)
            yield from labels_of(joined(cell.get("source")))


def _cell_labels(cell: dict[str, object]) -> Iterator[str]:
    metadata = cell.get("metadata")
    for value in (cell.get("id"), metadata.get("label") if isinstance(metadata, dict) else None):
        if isinstance(value, str):
            yield normalized(value)


def _thumbnails(read: list[Page | Notebook], site: Site) -> Iterator[Found]:
    for page in read:
        thumbnail = page.metadata.get("thumbnail") if isinstance(page, Page) else None
        is_file = thumbnail and thumbnail.text and not pages.URL.match(thumbnail.text) and "*" not in thumbnail.text
        if thumbnail and is_file and pages.resolve(thumbnail.text, page.source.path, site) is None:
            yield found("thumbnail-missing", page.name, thumbnail.line, thumbnail.text, name=thumbnail.text)


def _bibliographies(project: Project) -> list[Path]:
    """The BibTeX files that mystmd reads: those that are named, else all in the project's folder."""
    named = [project.folder / entry.text for entry in project.node.get("bibliography") if entry.text.endswith(".bib")]
    if named:
        return [path for path in named if path.is_file() and path.resolve().is_relative_to(project.root.resolve())]
    files = (path for path in project.folder.rglob("*.bib") if not {"_build", "node_modules"} & set(path.parts))
    return sorted(path for path in files if path.is_file() and not path.is_symlink())[:200]


def texts(root: Path, file: Path) -> Iterator[tuple[Markdown, str, int | None]]:
    """Every text of the manuscript in MyST, with its file's name; those of a notebook's cell also with the line for all of it."""
    project = Project(root, file)
    read = [page for path in project.pages if (page := _read(root, path))]
    for page in read:
        if isinstance(page, Page) and page.front is not None:
            yield page.markdown, page.name, None
        elif isinstance(page, Notebook):
            yield from ((Markdown(text), page.name, line or 1) for text, line in page.markdown())
    for source in _included(read, project):
        page = Page(source)
        yield page.markdown, source.name, None


def latex(root: Path, file: Path) -> Iterator[tex.Tex]:
    """Every source of the manuscript in LaTeX."""
    return tex.sources(root, Project(root, file).pages)


def bibliographies(root: Path, file: Path) -> list[Path]:
    """The BibTeX files of the manuscript."""
    return _bibliographies(Project(root, file))
