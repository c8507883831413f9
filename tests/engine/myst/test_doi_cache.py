"""DOIs are looked up before the build: through the real proxy, from inside this machine's real sandbox, for the real myst."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader

from builds.engine.context import Context
from builds.engine.manuscript.project import Project
from builds.engine.myst import doi_cache
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.stages.build import build
from builds.engine.stages.collect import collect
from builds.engine.tools.find_dois import normalized, references
from tests.engine.sandbox.test_sandbox import WORKING_KINDS
from tests.standins import DoiService
from tests.standins._server import Answer, Fault
from tests.support.stage_context import KeptReport, make_context

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not WORKING_KINDS, reason="needs a sandbox")]

SICI = "10.1002/(SICI)1096-987X(199709)18:12%3C1450::AID-JCC3%3E3.0.CO;2-I"
KNOWN = {
    "type": "article-journal",
    "title": "A heading &amp; a half",
    "author": [{"family": "Ångström", "given": "Anders"}, {"name": "The Painters"}],
    "issued": {"date-parts": [[2020, 4]]},
    "container-title": ["Journal of Paint"],
    "DOI": "10.1145/Known.1",
    "unknown": {"a": 1},
}
CONFIG = """version: 1
project:
  title: T
  exports:
    - format: typst
      output: paper.pdf
    - format: meca
      output: m.zip
"""
Make = Callable[..., tuple[Context, Project]]


@pytest.fixture
def service() -> Iterator[DoiService]:
    with DoiService() as running:
        running.known["10.1145/Known.1"] = KNOWN
        yield running


@pytest.fixture
def make(tmp_path: Path, service: DoiService) -> Make:
    """Makes a build, in its own workspace, of a manuscript with one page; all share a cache."""

    def make_one(name: str, page: str, **files: str) -> tuple[Context, Project]:
        folder = tmp_path / name
        folder.mkdir()
        ctx = make_context(folder, doi_cache=tmp_path / "cache", doi_service=service.url)
        policy = Policy(hidden=(tmp_path / "cache",))
        ctx = replace(ctx, sandbox=choose(WORKING_KINDS[0], policy).sandbox(ctx.workspace, ctx.build_id))
        root = ctx.workspace / "repository"
        root.mkdir()
        for path, text in {"myst.yml": CONFIG, "index.md": page, **files}.items():
            (root / path).write_text(text)
        return ctx, Project(root, root / "myst.yml")

    return make_one


def problems(ctx: Context) -> list[tuple[str, str, int | None]]:
    return [(each.code, each.file, each.line) for each in ctx.findings.all if each.code.startswith("doi-")]


def placed(project: Project) -> list[dict[str, object]]:
    return [json.loads(path.read_text())[0] for path in sorted((project.folder / "_build/cache").glob("doi-*"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[](doi:10.1145/3411764.3445648)", ["10.1145/3411764.3445648"]),
        ("See [](https://doi.org/10.1000/a.b).", ["10.1000/a.b"]),
        ("See <https://doi.org/10.1000/a>, or https://dx.doi.org/10.1000/b.", ["10.1000/a", "10.1000/b"]),
        ("[@doi:10.1000/a; @10.1000/b] and @https://doi.org/10.1000/c", ["10.1000/c", "10.1000/a", "10.1000/b"]),
        (f"(See https://doi.org/{SICI}.)", [SICI]),
        ("[x](https://doi.org/10.1000/a(b)c) and", ["10.1000/a(b)c"]),
        ("The text 10.1000/a is no link, and neither is doi:10.1000/b.", []),
        ("me@10.1000/a", []),
    ],
)
def test_dois_are_found_as_mystmd_writes_them(text: str, expected: list[str]) -> None:
    assert [normalized(written) for written, _at in references(text)] == expected


def test_a_doi_is_looked_up_once_for_all_builds(make: Make, service: DoiService) -> None:
    for name in ("a", "b"):
        ctx, project = make(name, "# P\n\nSee [](doi:10.1145/Known.1) and again [](doi:10.1145/Known.1).\n")
        doi_cache.provide(ctx, project)
        [reference] = placed(project)
        assert (problems(ctx), reference["title"], reference["container-title"]) == (
            [],
            "A heading &amp; a half",
            "Journal of Paint",
        )
        assert reference["author"] == [{"family": "Ångström", "given": "Anders"}, {"literal": "The Painters"}]
        assert "unknown" not in reference
        assert isinstance(ctx.report, KeptReport)
        assert ctx.report.lookups == [("doi", int(name == "b"), int(name == "a"))]
    assert service.asked == ["10.1145/Known.1"]


def test_what_the_bibliography_or_code_holds_is_not_looked_up(make: Make, service: DoiService) -> None:
    page = "# P\n\n[](doi:10.1000/BIB)\n\n```python\n# https://doi.org/10.1000/code\n```\n"
    ctx, project = make("a", page, **{"refs.bib": "@article{a,\n title={T},\n doi={10.1000/bib}\n}\n"})
    doi_cache.provide(ctx, project)
    assert (service.asked, placed(project), problems(ctx)) == ([], [], [])


def test_a_doi_that_does_not_exist_is_a_finding_with_its_place(make: Make, service: DoiService) -> None:
    page = "# P\n\nText.\n\nSee [](doi:10.1000/none).\n"
    for name in ("a", "b"):
        ctx, project = make(name, page)
        doi_cache.provide(ctx, project)
        assert problems(ctx) == [("doi-unregistered", "index.md", 5)]
        assert placed(project)[0]["title"] == "doi:10.1000/none"
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault("reset"), "could not be reached"),
        (Fault("answer", answer=Answer(503)), "answered with 503"),
        (Fault("answer", answer=Answer.text(200, "<html>")), "its registrar has no metadata for it"),
        (Fault("answer", answer=Answer.json(200, {"title": ["", 7], "author": 7})), "its registrar has no title for it"),
        (Fault("huge"), "its metadata is too large"),
    ],
)
def test_a_service_that_fails_is_a_finding(make: Make, service: DoiService, fault: Fault, why: str) -> None:
    service.add_fault(fault)
    ctx, project = make("a", "# P\n\nSee [](doi:10.1145/Known.1).\n")
    doi_cache.provide(ctx, project)
    assert problems(ctx) == [("doi-unknown", "index.md", 3)]
    assert why in ctx.findings.all[0].text


def test_a_service_that_does_not_answer_is_not_asked_for_every_doi(make: Make, service: DoiService) -> None:
    service.down()
    ctx, project = make("a", "# P\n\n" + "".join(f"[](doi:10.1000/{number}) " for number in range(60)))
    doi_cache.provide(ctx, project)
    assert len(problems(ctx)) == 60
    assert any("does not answer" in finding.text for finding in ctx.findings.all)


def test_a_lookup_for_which_no_process_is_left_is_a_finding(make: Make) -> None:
    ctx, project = make("a", "# P\n\nSee [](doi:10.1145/Known.1).\n")
    if ctx.sandbox is None or ctx.sandbox.shares_processes:
        pytest.skip("the limit depends on other programs here")
    doi_cache.provide(replace(ctx, sandbox=replace(ctx.sandbox, limits={"NPROC": 0})), project)
    assert problems(ctx) == [("doi-unknown", "index.md", 3)]
    assert "Resource temporarily unavailable" in ctx.findings.all[0].text


def test_an_author_s_own_copy_stays(make: Make, service: DoiService) -> None:
    ctx, project = make("a", "# P\n\nSee [](doi:10.1145/Known.1).\n")
    [cited] = doi_cache.find(ctx, project)
    own = project.folder / "_build/cache" / cited.name
    own.parent.mkdir(parents=True)
    own.write_text("[{}]")
    doi_cache.provide(ctx, project)
    assert (own.read_text(), service.asked) == ("[{}]", [])


def test_old_entries_are_removed(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    (tmp_path / "new").write_text("")
    past = time.time() - doi_cache.MAX_AGE_SECONDS * 3
    os.utime(tmp_path / "old", (past, past))
    doi_cache.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_build_without_network_cites_by_doi(make: Make, service: DoiService) -> None:
    page = (
        f"# P\n\nKnown: [](doi:10.1145/Known.1). [@doi:10.1145/Known.1]\n\nNone: [](https://doi.org/10.1000/none).\n\n"
        f"Odd: https://doi.org/{SICI} here.\n"
    )
    ctx, project = make("a", page)
    paper, meca = {"format": "typst", "output": "paper.pdf"}, {"format": "meca", "output": "m.zip"}
    built = build(replace(ctx, declared_exports=(paper, meca)), project)
    assert problems(ctx) == [("doi-unregistered", "index.md", 5), ("doi-unregistered", "index.md", 7)]
    text = " ".join(" ".join(page.extract_text() for page in PdfReader(built.exports[0].path).pages).split())
    assert "Ångström" in text
    assert "Journal of Paint" in text
    assert "10.1000/none" in text
    with zipfile.ZipFile(built.exports[1].path) as archive:
        article = archive.read("article.xml").decode()
    assert all(word in article for word in ("Ångström", "10.1145/Known.1", "10.1000/none"))
    shown = json.loads(built.exports[2].path.read_text())["references"]["cite"]["data"]
    assert len(shown) == 3
    assert collect(ctx, built)
