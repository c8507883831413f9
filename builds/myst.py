"""The bundled recipe (CONTRACT §4): what ``myst`` is asked to make of a project, and the cures for what it can't do offline.

Each function runs ``myst`` in the project's folder and looks at the files afterwards: its exit code proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from builds import exports, toolchain
from builds.exports import is_file, is_inside, is_inside_folder, place, read_text
from builds.shell import Shell
from builds.stages import PlannedExport, Project

EXPORT_FLAGS = ("--docx", "--pdf", "--tex", "--typst", "--jats", "--md", "--cff", "--meca")
SITE = Path("_build/site")
# Characters of a YAML file, times its merges: some five seconds.
DEAREST_YAML = 500_000
INDEX_NAMES = ("index", "readme", "main")


def make_exports(shell: Shell, project: Project, *flags: str) -> int:
    """Everything that the project and its pages declare (of the formats in ``flags``), the MECA last. Returns the exit code."""
    return _myst(shell, project.file.name, "build", *(flags or EXPORT_FLAGS))


def make_meca(shell: Shell, project: Project, output: Path) -> int:
    """A MECA of the whole project, from its root page, at ``output``, whatever its ending."""
    page = root_source(project)
    if page is None:
        return 1
    made = output if output.suffix in exports.EXTENSIONS["meca"] else project.folder / exports.OWN_FOLDER / "declared.zip"
    _make_folder(project, made)
    target = str(made.relative_to(project.folder)) if made.is_relative_to(project.folder) else str(made)
    code = _myst(shell, project.file.name, "build", str(page), "--meca", "-o", target)
    if made != output and _put(project, made, output):
        shell.context.log.warning(
            f"{output.name} is no name that MyST gives a MECA: it was made all the same, as a zip of that name."
        )
    return code


def make_site_content(shell: Shell, project: Project) -> Path | None:
    """The site's content, with a theme of ours that is nothing but its name; returns the root page's JSON.

    Tried first with all that the author says of the site, then, where that fails (a remote part that can't be had), without it.
    """
    theme = {"template": str(toolchain.SITE_THEME)}
    author = read_settings(project)
    # myst makes no site of a file without a project.
    whole = {} if author.get("project") else {"project": {"title": project.folder.name}}
    for settings in (
        {"version": 1, "extends": project.file.name, "site": theme, **whole},
        {**author, "site": theme, **whole},
    ):
        with _overlay(project, settings) as name:
            _myst(shell, name, "build", "--site")
        if page := root_page(project):
            return page
    return None


def make_own_pdf(shell: Shell, project: Project, plan: PlannedExport) -> bool:
    """The planned PDF with our own Typst template."""
    made = Path(exports.OWN_FOLDER) / f"{plan.role}{plan.path.suffix.lower()}"
    settings = read_settings(project)
    # Without an article myst takes every page but the first.
    page = root_source(project)
    articles = list(plan.articles) or ([str(page)] if page else [])
    export = {"format": "typst", "template": str(toolchain.TYPST_TEMPLATE), "output": str(made)}
    settings["project"] = {
        **(settings.get("project") or {}),
        "exports": [{**export, "articles": articles} if articles else export],
    }
    settings.pop("site", None)
    with _overlay(project, settings) as name:
        _myst(shell, name, "build", "--typst")
        if not (project.folder / made).is_file() and shell.unknown_dois:
            with _stand_ins_for_references(project, shell.unknown_dois):
                _myst(shell, name, "build", "--typst")
            _warn_of_references(shell)
    return _put(project, project.folder / made, plan.path)


@contextmanager
def _stand_ins_for_references(project: Project, dois: Iterable[str]) -> Iterator[None]:
    """In myst's cache, for as long as one command runs: mystmd makes no PDF with a reference that it can't look up."""
    made = []
    for doi in dois:
        path = (
            project.folder / "_build" / "cache" / f"doi-{hashlib.md5(doi.encode(), usedforsecurity=False).hexdigest()}.csl.json"
        )
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            reference = {"id": doi, "type": "article", "title": f"doi:{doi}", "DOI": doi, "URL": f"https://doi.org/{doi}"}
            path.write_text(json.dumps([reference]))
            made.append(path)
    try:
        yield
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _warn_of_references(shell: Shell) -> None:
    dois = sorted(shell.unknown_dois)
    shell.context.log.warning(
        f"Not looked up, so that the PDF names them by their DOI alone: {', '.join(dois[:10])}{' …' if len(dois) > 10 else ''}. "
        "Put these references into a .bib file of the manuscript."
    )


def _put(project: Project, made: Path, output: Path) -> bool:
    """Copy what was made to where it was to be; whether there was any."""
    _make_folder(project, output)
    if not made.is_file() or not is_inside(project, made) or output.is_symlink():
        return False
    if made != output:
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
        if isinstance(name, str) and is_inside_folder(content, path):
            return path
    return None


def root_source(project: Project) -> Path | None:
    """The root page's source, relative to the project's folder: as the site's content says, else by the toc, else by myst's names."""
    page = root_page(project)
    location = _json(project, page).get("location") if page else None
    names = [str(location).lstrip("/") if location else "", _first_in_toc(project), *_index_files(project)]
    return next((Path(name) for name in names if name and is_file(project.folder / name)), None)


def _first_in_toc(project: Project) -> str:
    toc = (read_settings(project).get("project") or {}).get("toc")
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


def read_yaml(text: str) -> Any:
    """As mystmd reads it.

    Raises:
        YAMLError, ValueError, RecursionError: it is none, or would take long to read.
    """
    if len(text) * (1 + text.count("<<") + text.count("!!merge")) > DEAREST_YAML:  # each merge may copy all that there is
        raise ValueError("too large")
    return _yaml().load(text)


def read_settings(project: Project) -> CommentedMap:
    """The project file; empty where it can't be read (myst itself says what is wrong with it)."""
    try:
        settings = read_yaml(read_text(project, project.file))
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
