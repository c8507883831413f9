"""The bundled recipe (CONTRACT §4): what ``myst`` is asked to make of a project, and the cures for what it can't do offline.

Each function runs ``myst`` in the project's folder and looks at the files afterwards: its exit code proves nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from builds import toolchain
from builds.exports import is_inside, place, read_text
from builds.shell import Shell
from builds.stages import Project

EXPORT_FLAGS = ("--docx", "--pdf", "--tex", "--typst", "--jats", "--md", "--cff", "--meca")
SITE = Path("_build/site")
OWN_PDF = Path("_build/jobsite/manuscript.pdf")
INDEX_NAMES = ("index", "readme", "main")
SOURCE_SUFFIXES = (".md", ".ipynb", ".myst.json", ".tex")


def make_exports(shell: Shell, project: Project, *flags: str) -> int:
    """Everything that the project and its pages declare (of the formats in ``flags``), the MECA last. Returns the exit code."""
    return _myst(shell, project.file.name, "build", *(flags or EXPORT_FLAGS))


def make_meca(shell: Shell, project: Project, output: Path) -> int:
    """A MECA of the whole project, from its root page, at ``output``."""
    page = root_source(project)
    if page is None:
        return 1
    _make_folder(project, output)
    target = str(output.relative_to(project.folder)) if output.is_relative_to(project.folder) else str(output)
    return _myst(shell, project.file.name, "build", str(page), "--meca", "-o", target)


def make_site_content(shell: Shell, project: Project) -> Path | None:
    """The site's content, with a theme of ours that is nothing but its name; returns the root page's JSON.

    Tried first with all that the author says of the site, then, where that fails (a remote part that can't be had), without it.
    """
    theme = {"template": str(toolchain.SITE_THEME)}
    for settings in ({"version": 1, "extends": project.file.name, "site": theme}, {**read_settings(project), "site": theme}):
        with _overlay(project, settings) as name:
            _myst(shell, name, "build", "--site")
        if page := root_page(project):
            return page
    return None


def make_own_pdf(shell: Shell, project: Project, output: Path) -> bool:
    """The manuscript's PDF with our own Typst template, at ``output``."""
    made = project.folder / OWN_PDF
    if not made.is_file():
        settings = read_settings(project)
        # Without an article myst takes every page but the first.
        page = root_source(project)
        article = {"article": str(page)} if page else {}
        export = {"format": "typst", "template": str(toolchain.TYPST_TEMPLATE), "output": str(OWN_PDF), **article}
        settings["project"] = {**(settings.get("project") or {}), "exports": [export]}
        settings.pop("site", None)
        with _overlay(project, settings) as name:
            _myst(shell, name, "build", "--typst")
    if not made.is_file():
        return False
    _make_folder(project, output)
    if not is_inside(project, made) or output.is_symlink():
        return False
    shutil.copyfile(made, output)
    return True


def _make_folder(project: Project, output: Path) -> None:
    """The folder of an output, which a command may have made a link since it was planned.

    Raises:
        ExportOutside: it leads out of the repository.
    """
    place(project, str(output)).parent.mkdir(parents=True, exist_ok=True)


def mend_toc(project: Project) -> None:
    """Write the project file anew with its lists indented deeper than their keys (mystmd can't bundle it otherwise)."""
    settings = read_settings(project)
    if not is_inside(project, project.file) or not settings:
        return
    _unfold(settings)
    with project.file.open("w", encoding="utf-8") as file:
        _yaml().dump(settings, file)


def root_page(project: Project) -> Path | None:
    """The JSON of the site's root page; None where there is no site content."""
    content = project.folder / SITE / "content"
    config = _json(project, project.folder / SITE / "config.json")
    projects = config.get("projects") or [{}]
    slug = projects[0].get("index") if isinstance(projects[0], dict) else None
    for name in (slug, "index"):
        path = content / f"{name}.json"
        if isinstance(name, str) and path.resolve().is_relative_to(content.resolve()) and path.is_file():
            return path
    return None


def root_source(project: Project) -> Path | None:
    """The root page's source, relative to the project's folder: as the site's content says, else by the toc, else by myst's names."""
    page = root_page(project)
    location = _json(project, page).get("location") if page else None
    names = [str(location).lstrip("/") if location else "", _first_in_toc(project), *_index_files(project)]
    return next((Path(name) for name in names if name and (project.folder / name).is_file()), None)


def _first_in_toc(project: Project) -> str:
    toc = (read_settings(project).get("project") or {}).get("toc")
    while isinstance(toc, list) and toc and isinstance(toc[0], dict):
        if isinstance(toc[0].get("file"), str):
            return str(toc[0]["file"])
        toc = toc[0].get("children")
    return ""


def _index_files(project: Project) -> list[str]:
    sources = sorted(path.name for path in project.folder.iterdir() if path.name.endswith(SOURCE_SUFFIXES))
    return sorted(sources, key=lambda name: _index_rank(name.split(".")[0].lower()))


def _index_rank(stem: str) -> int:
    return INDEX_NAMES.index(stem) if stem in INDEX_NAMES else len(INDEX_NAMES)


def _myst(shell: Shell, config: str, *arguments: str) -> int:
    selected = () if config == "myst.yml" else ("--config", config)
    return shell.run(["myst", *selected, *arguments])


@contextmanager
def _overlay(project: Project, settings: Any) -> Iterator[str]:
    """A project file of ours beside the author's, for as long as one command runs: it must not end up in a bundle."""
    path = place(project, "_jobsite.yml")
    path.unlink(missing_ok=True)
    with path.open("w", encoding="utf-8") as file:
        _yaml().dump(settings, file)
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def read_settings(project: Project) -> CommentedMap:
    """The project file; empty where it can't be read (myst itself says what is wrong with it)."""
    try:
        settings = _yaml().load(read_text(project, project.file))
    except (OSError, YAMLError, ValueError, RecursionError):
        settings = None
    return settings if isinstance(settings, CommentedMap) else CommentedMap()


def _yaml() -> YAML:
    """YAML 1.2, as mystmd reads it: ``no`` and ``2024-01-01`` stay what they are."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 1 << 20
    yaml.allow_duplicate_keys = True
    return yaml


def _unfold(value: Any) -> None:
    if isinstance(value, CommentedMap | CommentedSeq):
        value.fa.set_block_style()
        for child in value.values() if isinstance(value, CommentedMap) else value:
            _unfold(child)


def _json(project: Project, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(project, path))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
