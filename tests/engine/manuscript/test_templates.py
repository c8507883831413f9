"""The templates that a manuscript names, and the folder where ``myst`` looks for each."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builds.engine.manuscript.project import Project
from builds.engine.manuscript.templates import find_templates

SERVICE = "https://api.mystmd.org"


def project_of(folder: Path, settings: str, **pages: str) -> Project:
    folder.mkdir(parents=True)
    (folder / "myst.yml").write_text(f"version: 1\n{settings}")
    (folder / "index.md").write_text("# Title\n")
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    return Project(folder, folder / "myst.yml")


def exports(*entries: str) -> str:
    return "project:\n  exports:\n" + "".join(f"    - {entry}\n" for entry in entries)


SHA = hashlib.sha256(b"https://github.com/a/b/archive/main.zip").hexdigest()


@pytest.mark.parametrize(
    ("entry", "folders"),
    [
        ("{format: typst, template: article}", ["typst/myst/article"]),
        ("{format: typst, template: journal/article}", ["typst/journal/article"]),
        ("{format: pdf, template: lapreprint-typst}", ["typst/myst/lapreprint-typst"]),
        ("{format: pdf, template: arxiv_nips}", ["tex/myst/arxiv_nips"]),
        ("{format: tex, template: tex/journal/article}", ["tex/journal/article"]),
        ("{format: docx}", ["docx/myst/default"]),
        ("typst", ["typst/myst/lapreprint-typst"]),
        ("{format: typst, template: 'https://github.com/a/b/archive/main.zip'}", [f"typst/{SHA}"]),
        ("{format: typst, template: 'http://example.org/main.zip'}", []),
        ("{format: typst, template: null}", []),
        ("{format: typst, template: ./own}", []),
        ("{format: typst, template: own}", []),
        ("{format: typst, template: ../../etc}", []),
        ("{format: typst, template: 'file:///etc/passwd'}", []),
        ("{format: typst, template: {a: b}}", []),
        ("{format: meca}", []),
        ("{format: xml, template: article}", []),
    ],
)
def test_the_template_of_an_export(tmp_path: Path, entry: str, folders: list[str]) -> None:
    project = project_of(tmp_path / "p", exports(entry))
    (project.folder / "own").mkdir()
    assert [str(template.folder) for template in find_templates(project, SERVICE)] == [
        f"_build/templates/{folder}" for folder in folders
    ]


def test_a_template_s_name_becomes_an_address_at_the_service(tmp_path: Path) -> None:
    [template] = find_templates(project_of(tmp_path / "p", exports("{format: typst, template: article}")), SERVICE + "/")
    assert template.address == f"{SERVICE}/templates/typst/myst/article"


@pytest.mark.parametrize(
    ("settings", "folders"),
    [
        ("site: {}\n", ["site/myst/book-theme"]),
        ("site:\n  template: null\n", ["site/myst/book-theme"]),
        ("site:\n  template: journal/theme\n", ["site/journal/theme"]),
        ("site:\n  template: ./own\n", []),
        ("site: true\n", []),
        ("", []),
    ],
)
def test_the_theme_of_a_site(tmp_path: Path, settings: str, folders: list[str]) -> None:
    project = project_of(tmp_path / "p", settings)
    (project.folder / "own").mkdir()
    assert [str(template.folder) for template in find_templates(project, SERVICE, site=True)] == [
        f"_build/templates/{folder}" for folder in folders
    ]
    assert find_templates(project, SERVICE) == []


def test_templates_of_pages_are_found_and_each_template_once(tmp_path: Path) -> None:
    page = "---\ntitle: T\nexports:\n  - format: typst\n    template: journal/{}\n---\n# Text\n"
    project = project_of(
        tmp_path / "p",
        exports("{format: typst, template: journal/a}"),
        one=page.format("a"),
        two=page.format("b"),
        three="---\nexports: [\n---\n",
        four="---\n- a list\n---\n",
        _build=page.format("c"),
    )
    assert [template.reference for template in find_templates(project, SERVICE)] == ["journal/a", "journal/b"]
