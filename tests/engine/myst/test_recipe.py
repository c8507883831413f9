"""The bundled recipe builds real projects with the real myst, without network."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builds.engine.context import Built
from builds.engine.manuscript.project import Project
from builds.engine.stages.build import build
from builds.errors import BuildError, CommandFailed, ExportOutside
from tests.support.stage_context import make_context

pytestmark = pytest.mark.slow

MYST = "version: 1\nproject:\n  title: T\n"
SITE = "site:\n  template: book-theme\n"


def run(tmp_path: Path, files: dict[str, str], exports: list[Any], *, name: str = "myst.yml", **overrides: Any) -> Built:
    root = tmp_path / "repository"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    context = make_context(tmp_path, declared_exports=tuple(exports), **overrides)
    return build(context, Project(root, root / name))


def names_in(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_a_project_without_exports_gets_our_own_meca_and_the_page(tmp_path: Path) -> None:
    built = run(tmp_path, {"myst.yml": MYST, "paper.md": "# P\n", "z.md": "# Z\n"}, [])
    meca, page = built.exports
    assert (meca.role, meca.name, meca.declared) == ("meca", "/exports/manuscript.meca", "")
    assert {"manifest.xml", "article.xml", "bundle/myst.yml", "bundle/paper.md", "bundle/z.md"} <= names_in(meca.path)
    assert json.loads(page.path.read_text())["slug"] == "paper"


def test_our_overlay_is_neither_left_behind_nor_bundled(tmp_path: Path) -> None:
    config = MYST + '  resources:\n    - "*.yml"\n'
    built = run(tmp_path, {"myst.yml": config, "index.md": "# P\n"}, [])
    assert [name for name in names_in(built.exports[0].path) if "jobsite" in name] == []
    assert list(built.project.folder.glob("_jobsite*")) == []


def test_a_declared_meca_is_made_at_its_output(tmp_path: Path) -> None:
    exports = [{"format": "meca", "output": "exports/article.meca.zip"}]
    config = MYST + "  exports:\n    - format: meca\n      output: exports/article.meca.zip\n" + SITE
    built = run(tmp_path, {"paper/myst.yml": config, "paper/index.md": "# P\n"}, exports, name="paper/myst.yml")
    assert built.exports[0].path == built.project.folder / "exports/article.meca.zip"
    assert built.exports[0].path.is_file()


def test_a_meca_that_only_the_submission_declares_is_made_too(tmp_path: Path) -> None:
    built = run(tmp_path, {"myst.yml": MYST, "index.md": "# P\n"}, [{"format": "meca", "output": "exports/a.zip"}])
    assert built.exports[0].path.is_file()


def test_any_project_file_name_works(tmp_path: Path) -> None:
    built = run(tmp_path, {"curve.yaml": MYST, "main.md": "# P\n"}, ["meca"], name="curve.yaml")
    assert "bundle/curve.yaml" in names_in(built.exports[0].path)


@pytest.mark.parametrize("toc", ["  toc:\n  - file: a.md\n  - file: b.md\n", "  toc: [{file: a.md}, {file: b.md}]\n"])
def test_a_toc_that_mystmd_cannot_bundle_is_fixed(tmp_path: Path, toc: str) -> None:
    built = run(tmp_path, {"myst.yml": MYST + toc, "a.md": "# A\n", "b.md": "# B\n"}, ["meca"])
    assert {"bundle/a.md", "bundle/b.md"} <= names_in(built.exports[0].path)


def test_a_pdf_whose_template_cannot_be_fetched_is_made_with_ours(tmp_path: Path) -> None:
    exports = [{"format": "pdf", "template": "arxiv_nips", "output": "out/paper.pdf"}, {"format": "meca", "output": "m.zip"}]
    config = (
        MYST
        + "  exports:\n"
        + "".join(
            f"    - format: {e['format']}\n      output: {e['output']}\n"
            + (f"      template: {e['template']}\n" if "template" in e else "")
            for e in exports
        )
    )
    built = run(tmp_path, {"myst.yml": config, "index.md": "# P\n\nText.\n"}, exports)
    assert [(e.role, e.name) for e in built.exports] == [("pdf", "paper.pdf"), ("meca", "/m"), ("page-content", "index.json")]
    assert built.exports[0].path.read_bytes().startswith(b"%PDF")
    assert "paper.pdf" in names_in(built.exports[1].path)


def test_the_page_is_made_although_a_part_of_the_site_cannot_be_fetched(tmp_path: Path) -> None:
    site = "site:\n  template: book-theme\n  options:\n    style: https://example.org/x.css\n  parts:\n    footer: https://example.org/f.md\n"
    built = run(tmp_path, {"myst.yml": MYST + site, "index.md": "# P\n"}, [])
    assert built.exports[-1].path.is_file()


def test_committed_exports_and_sites_do_not_count_as_results(tmp_path: Path) -> None:
    files = {"myst.yml": MYST, "index.md": "# P\n", "exports/a.zip": "stale", "_build/site/content/index.json": '{"stale": 1}'}
    built = run(tmp_path, files, [{"format": "meca", "output": "exports/a.zip"}])
    assert "manifest.xml" in names_in(built.exports[0].path)
    assert "stale" not in json.loads(built.exports[1].path.read_text())


@pytest.mark.parametrize(
    ("config", "files", "words"),
    [
        ("version: 1\nproject: [\n", {"index.md": "# P\n"}, "myst.yml"),
        ("project:\n  title: no version\n", {"index.md": "# P\n"}, "version"),
        (MYST, {}, "md"),
        (MYST + "  toc:\n    - file: gone.md\n", {"index.md": "# P\n"}, "gone.md"),
    ],
    ids=["invalid YAML", "no version", "no sources", "toc names a missing root"],
)
def test_a_project_that_myst_cannot_build_fails_with_a_sentence(
    tmp_path: Path, config: str, files: dict[str, str], words: str
) -> None:
    with pytest.raises(BuildError) as raised:
        run(tmp_path, {"myst.yml": config, **files}, [])
    assert raised.value.sentence.startswith("Failed to build the repo files")
    assert words in raised.value.sentence


def test_an_output_outside_the_repository_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ExportOutside):
        run(tmp_path, {"myst.yml": MYST, "index.md": "# P\n"}, [{"format": "docx", "output": "../../x.docx"}])


def test_the_operators_command_runs_in_the_project_folder(tmp_path: Path) -> None:
    steps = (
        'test "$PWD" = "$(cd .. && pwd)/paper"',
        "mkdir exports",
        "cp ../a.zip exports/a.zip",
        "mkdir -p _build/site/content",
        'echo "{}" > _build/site/content/index.json',
    )
    command = " && ".join(steps)
    files = {"paper/myst.yml": MYST, "a.zip": "made"}
    exports = [{"format": "meca", "output": "exports/a.zip"}]
    built = run(tmp_path, files, exports, name="paper/myst.yml", build_command=command)
    assert built.exports[0].path.read_text() == "made"


def test_a_failed_command_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^Failed to build the repo files"):
        run(tmp_path, {"myst.yml": MYST}, [], build_command="echo 'Error: it broke' >&2; exit 3")


def test_a_command_does_not_see_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERNAL_SERVICE_SECRET", "top-secret")
    with pytest.raises(CommandFailed):
        run(tmp_path, {"myst.yml": MYST}, [], build_command="env > seen; exit 1")
    seen = (tmp_path / "repository" / "seen").read_text()
    assert "top-secret" not in seen
    assert {line.split("=")[0] for line in seen.splitlines()} >= {"PATH", "HOME", "JOBSITE_BUILD"}
