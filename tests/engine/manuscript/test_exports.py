"""Reading declared exports, and finding the files that the real myst makes of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from builds.engine.manuscript import exports
from builds.engine.manuscript.exports import Declared
from builds.engine.manuscript.paths import resolve_output
from builds.engine.manuscript.project import Project
from builds.engine.myst import toolchain
from builds.errors import ExportOutside, ExportUnwritable


def project(tmp_path: Path, *, folder: str = ".", name: str = "myst.yml") -> Project:
    root = tmp_path / "repository"
    (root / folder).mkdir(parents=True, exist_ok=True)
    return Project(root, root / folder / name)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("meca", Declared("meca")),
        (".pdf", Declared("pdf")),
        ("out/paper.pdf", Declared("pdf", "out/paper.pdf")),
        ("paper.zip", Declared("meca", "paper.zip")),
        ({"format": "meca"}, Declared("meca")),
        ({"format": "jats", "output": "a.xml"}, Declared("xml", "a.xml")),
        ({"format": "typst", "output": "exports/"}, Declared("typst", "exports/")),
        ({"format": "tex+pdf"}, Declared("pdf+tex")),
        ({"output": "a.docx"}, Declared("docx", "a.docx")),
        ({"template": "lapreprint-typst", "output": "a.pdf"}, Declared("typst", "a.pdf", template="lapreprint-typst")),
        ({"template": "arxiv_nips"}, Declared("pdf", template="arxiv_nips")),
        ({}, None),
        ("", None),
        (None, None),
        (7, None),
        (["meca"], None),
        ({"format": 7, "output": ["x"]}, None),
    ],
)
def test_an_entry_is_read_as_myst_reads_it(entry: Any, expected: Declared | None) -> None:
    assert exports.parse(entry) == expected


def test_the_first_export_of_each_format_is_delivered_in_a_fixed_order() -> None:
    entries = ["meca", {"format": "typst", "output": "t.pdf"}, "docx", {"format": "pdf", "output": "a.pdf"}, "b.pdf"]
    assert exports.select_delivered(entries) == [Declared("pdf", "a.pdf"), Declared("typst", "t.pdf"), Declared("meca")]


@pytest.mark.parametrize("output", ["../x.pdf", "/etc/x.pdf", "a/../../../x.pdf", "link/x.pdf"])
def test_an_output_outside_the_repository_is_refused(tmp_path: Path, output: str) -> None:
    here = project(tmp_path)
    (here.root / "link").symlink_to(tmp_path)
    with pytest.raises(ExportOutside, match="leads out of the repository"):
        resolve_output(here, output)


@pytest.mark.parametrize("output", ["a\0/b.pdf", "a\0.pdf", "\ud800/a.pdf", "\udc80\ud800"])
def test_an_output_that_is_not_a_file_name_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(ExportUnwritable, match="is not a file name"):
        resolve_output(project(tmp_path), output)


def test_an_output_next_to_the_project_folder_is_inside_the_repository(tmp_path: Path) -> None:
    here = project(tmp_path, folder="paper")
    assert resolve_output(here, "../exports/a.pdf") == here.root / "exports" / "a.pdf"


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ("exports/article.meca.zip", "/exports/article.meca"),
        ("./a.zip", "/a"),
        ("deep/er/x.meca", "/deep/er/x.meca"),
        ("../out/a.zip", "/out/a"),
    ],
)
def test_the_delivered_name_of_a_meca_is_its_path_without_zip(tmp_path: Path, output: str, name: str) -> None:
    here = project(tmp_path, folder="paper")
    assert exports.plan(here, Declared("meca", output), []).name == name


@pytest.mark.parametrize(
    "output", ["{outside}", "{root}/../outside.zip", "{root}/link/outside.zip", "outside.zip", "{root}/\0", "{root}/\ud800"]
)
def test_a_forged_build_log_does_not_tell_whether_a_file_exists(tmp_path: Path, output: str) -> None:
    here = project(tmp_path)
    (here.root / "link").symlink_to(tmp_path)
    outside = tmp_path / "outside.zip"
    forged = {"format": "meca", "output": output.format(outside=outside, root=here.root), "$file": str(here.file)}
    without = exports.plan(here, Declared("meca"), [forged])
    outside.write_text("x")
    other = {"format": "docx", "output": str(here.root / "other.docx"), "$file": str(here.file)}
    assert exports.plan(here, Declared("meca"), [forged]) == without == exports.plan(here, Declared("meca"), [other])


def test_only_stale_outputs_are_removed(tmp_path: Path) -> None:
    here = project(tmp_path)
    outside = tmp_path / "outside.pdf"
    for path in (here.root / "a.pdf", here.root / "keep.pdf", outside):
        path.write_text("old")
    (here.root / "link.pdf").symlink_to(outside)
    removed = exports.remove_stale(here, [{"format": "pdf", "output": "a.pdf"}, "link.pdf", "missing.pdf", {"format": "pdf"}])
    assert removed == ["a.pdf", "link.pdf"]
    assert (sorted(p.name for p in here.root.iterdir()), outside.read_text()) == (["keep.pdf"], "old")


REAL = [
    ("myst.yml", ["meca"]),
    ("curvenote.yml", [{"format": "meca"}]),
    ("myst.yml", [{"format": "meca", "output": "out"}]),
    ("myst.yml", [{"format": "meca", "output": "exports/a.meca.zip"}]),
    ("paper.yaml", ["bundle.zip"]),
    ("myst.yml", [{"format": "meca", "output": "exports/a.meca"}]),
    ("myst.yml", [{"format": "meca", "output": "a.zip"}, {"format": "meca", "output": "a.zip", "id": "second"}]),
]


@pytest.mark.parametrize(("name", "entries"), REAL)
@pytest.mark.slow
def test_an_export_of_the_real_myst_is_found(tmp_path: Path, name: str, entries: list[Any]) -> None:
    here = project(tmp_path, name=name)
    (here.root / "first.md").write_text("# One\n")
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    with here.file.open("w") as file:
        yaml.dump({"version": 1, "project": {"exports": entries, "toc": [{"file": "first.md"}]}}, file)
    run_myst(tmp_path, here)
    found = exports.plan(here, exports.select_delivered(entries)[0], exports.read_build_log(here)).path
    made = {path for path in here.root.rglob("*") if path.suffix in (".zip", ".meca")}
    assert found in made
    assert found == sorted(made)[0]


def run_myst(tmp_path: Path, here: Project) -> None:
    selected = [] if here.file.name == "myst.yml" else ["--config", here.file.name]
    environment = toolchain.environment(tmp_path, extra={}, network=False)
    subprocess.run(["myst", *selected, "build", "--meca"], cwd=here.root, env=environment, check=True, stdin=subprocess.DEVNULL)
