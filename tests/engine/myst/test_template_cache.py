"""The template cache, with a real mirror, fetched from inside this machine's real sandbox through the real proxy."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from builds.engine.context import Context, Hosts
from builds.engine.manuscript.project import Project
from builds.engine.myst import template_cache
from builds.engine.myst.toolchain import TYPST_TEMPLATE
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy
from builds.engine.stages.build import build
from builds.lib.stop import Stop
from tests.engine.manuscript.test_templates import exports, project_of
from tests.engine.sandbox.test_sandbox import WORKING_KINDS
from tests.support.mirror import Mirror, mirror, private_address
from tests.support.stage_context import KeptLog, KeptReport, make_context

pytestmark = pytest.mark.slow

NAME = "/templates/typst/journal/article"
FILES = {path.name: path.read_text() for path in sorted(TYPST_TEMPLATE.iterdir())}
real = pytest.mark.skipif(
    not (WORKING_KINDS and private_address()), reason="needs a sandbox and a private address other than loopback"
)


def zipped(files: dict[str, str], *links: str, top: str = "article-main/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{top}{name}", text)
        for name in links:
            info = zipfile.ZipInfo(f"{top}{name}")
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


# --- the cache


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Mirror]:
    with mirror(tmp_path) as running:
        described = {"links": {"download": f"http://{running.host}/article.zip"}}
        running.files |= {NAME: json.dumps(described).encode(), "/article.zip": zipped(FILES)}
        yield running


Make = Callable[..., tuple[Context, Project]]


@pytest.fixture
def make(tmp_path: Path, inside: Mirror) -> Make:
    """Makes a build, in its own workspace, of a manuscript that names the mirror's template."""

    def make_one(name: str, *, hosts: Hosts | None = None, kind: str = WORKING_KINDS[0]) -> tuple[Context, Project]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        ctx = make_context(
            folder,
            build_hosts=hosts or Hosts(private=(inside.host,)),
            template_cache=tmp_path / "cache",
            template_service=f"http://{inside.host}",
        )
        sandbox = choose(kind, Policy(hidden=(tmp_path / "cache",))).sandbox(ctx.workspace, ctx.build_id)
        ctx = replace(ctx, sandbox=sandbox)
        return ctx, project_of(ctx.workspace / "repository", exports("{format: typst, template: journal/article, output: a.pdf}"))

    return make_one


def asked(inside: Mirror) -> list[str]:
    return [path for _method, path, _host in inside.asked]


def placed(project: Project) -> dict[str, str]:
    folder = project.folder / "_build/templates/typst/journal/article"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def warnings(ctx: Context) -> list[str]:
    assert isinstance(ctx.log, KeptLog)
    return ctx.log.warnings


@real
@pytest.mark.parametrize("kind", WORKING_KINDS)
def test_a_template_is_fetched_once_for_all_builds(make: Make, inside: Mirror, kind: str) -> None:
    for name in ("a", "b", "c"):
        ctx, project = make(name, kind=kind)
        template_cache.provide(ctx, project)
        assert (placed(project), warnings(ctx)) == (FILES, [])
        assert f"(sha256 {hashlib.sha256(inside.files['/article.zip']).hexdigest()})" in str(ctx.log)
        assert list(ctx.workspace.glob("template*")) == []
        assert isinstance(ctx.report, KeptReport)
        assert ctx.report.lookups == [("template", int(name != "a"), int(name == "a"))]
    assert asked(inside) == [NAME, "/article.zip"]


@real
def test_only_one_of_many_concurrent_builds_fetches_a_template(make: Make, inside: Mirror) -> None:
    builds = [make(f"build-{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: template_cache.provide(*each), builds))
    assert [placed(project) for _ctx, project in builds] == [FILES] * 4
    assert asked(inside) == [NAME, "/article.zip"]


@real
def test_a_changed_copy_does_not_affect_other_builds(make: Make, tmp_path: Path) -> None:
    ctx, project = make("a")
    template_cache.provide(ctx, project)
    for path in (project.folder / "_build/templates/typst/journal/article").iterdir():
        path.write_text("evil")
    ctx, project = make("b")
    template_cache.provide(ctx, project)
    assert placed(project) == FILES
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


TRY = """
cache={cache}
ls $cache >/dev/null 2>&1 && echo read
touch $cache/x 2>/dev/null && echo written
rm -r $cache/* 2>/dev/null && echo removed
ls _build/templates/typst/journal/article/template.yml && echo poison > _build/templates/typst/journal/article/template.yml
"""


@real
@pytest.mark.parametrize("kind", WORKING_KINDS)
def test_a_build_can_change_its_copy_but_not_the_cache(make: Make, tmp_path: Path, kind: str) -> None:
    ctx, project = make("a", kind=kind)
    build(replace(ctx, build_command=TRY.format(cache=tmp_path / "cache")), project)
    assert isinstance(ctx.log, KeptLog)
    assert [text for stream, text in ctx.log.lines if stream == "stdout"][:1] == [
        "_build/templates/typst/journal/article/template.yml"
    ]
    assert (project.folder / "_build/templates/typst/journal/article/template.yml").read_text() == "poison\n"
    ctx, project = make("b", kind=kind)
    template_cache.provide(ctx, project)
    assert placed(project) == FILES


@real
@pytest.mark.parametrize("change", ["content", "right", "link", "more", "less"])
def test_an_entry_that_was_changed_is_fetched_again(make: Make, tmp_path: Path, inside: Mirror, change: str) -> None:
    template_cache.provide(*make("a"))
    [path] = (tmp_path / "cache").glob("*/repository/template.typ")
    if change == "right":
        path.chmod(0o755)
    elif change in ("link", "less"):
        path.unlink()
    if change == "link":
        path.symlink_to("template.yml")
    elif change in ("content", "more"):
        (path if change == "content" else path.with_name("more")).write_text("evil")
    ctx, project = make("b")
    template_cache.provide(ctx, project)
    assert (placed(project), warnings(ctx)) == (FILES, [])
    assert asked(inside) == [NAME, "/article.zip"] * 2


@real
def test_a_build_goes_on_without_a_writable_cache(make: Make, tmp_path: Path, inside: Mirror) -> None:
    (tmp_path / "cache").write_text("a file")
    ctx, project = make("a")
    template_cache.provide(ctx, project)
    assert warnings(ctx) == ["Template journal/article is not available: the service can't store it (File exists)."]
    assert asked(inside) == []


@real
def test_myst_makes_a_pdf_from_a_cached_template_without_network(make: Make, inside: Mirror) -> None:
    ctx, project = make("a")
    made = build(replace(ctx, declared_exports=({"format": "typst", "output": "a.pdf"},)), project)
    assert [(plan.role, plan.path.is_file()) for plan in made.exports if plan.role == "typst"] == [("typst", True)]
    assert "the journal's template" not in str(ctx.log)
    assert asked(inside) == [NAME, "/article.zip"]


@real
@pytest.mark.parametrize(("command", "answer"), [("ls _build/templates/site/journal/theme", "template.yml"), ("myst", "")])
def test_only_the_repository_s_own_command_gets_the_site_s_theme(make: Make, inside: Mirror, command: str, answer: str) -> None:
    described = {"links": {"download": f"http://{inside.host}/theme.zip"}}
    inside.files["/templates/site/journal/theme"] = json.dumps(described).encode()
    inside.files["/theme.zip"] = zipped({"template.yml": "myst: v1\n"})
    ctx, project = make("a")
    project.file.write_text("version: 1\nproject:\n  title: T\nsite:\n  template: journal/theme\n")
    build(replace(ctx, build_command=command), project)
    assert isinstance(ctx.log, KeptLog)
    assert [text for stream, text in ctx.log.lines if stream == "stdout" and text == "template.yml"] == [answer] * bool(answer)
    assert ("/theme.zip" in asked(inside)) == bool(answer)


@real
def test_a_template_in_the_repository_is_not_replaced(make: Make, inside: Mirror) -> None:
    ctx, project = make("a")
    folder = project.folder / "_build/templates/typst/journal/article"
    folder.mkdir(parents=True)
    (folder / "template.yml").write_text("mine")
    template_cache.provide(ctx, project)
    assert (placed(project), asked(inside)) == ({"template.yml": "mine"}, [])


@real
def test_a_link_in_the_template_s_place_is_not_followed(make: Make, tmp_path: Path) -> None:
    ctx, project = make("a")
    (tmp_path / "outside").mkdir()
    (project.folder / "_build").symlink_to(tmp_path / "outside")
    template_cache.provide(ctx, project)
    assert list((tmp_path / "outside").iterdir()) == []
    assert [text.partition(":")[0] for text in warnings(ctx)] == ["Template journal/article is not available"]


def age(cache: Path, seconds: float) -> None:
    """Make every entry ``seconds`` older."""
    for path in cache.rglob("source.json"):
        source = json.loads(path.read_text())
        path.write_text(json.dumps({**source, "at": str(float(source["at"]) - seconds)}))
    for path in cache.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


@real
def test_a_template_is_renewed_after_a_day_and_kept_if_that_fails(make: Make, inside: Mirror, tmp_path: Path) -> None:
    template_cache.provide(*make("a"))
    age(tmp_path / "cache", template_cache.MAX_AGE_SECONDS)
    newer = {**FILES, "template.typ": "newer"}
    inside.files["/article.zip"] = zipped(newer)
    ctx, project = make("b")
    template_cache.provide(ctx, project)
    assert placed(project) == newer
    age(tmp_path / "cache", template_cache.MAX_AGE_SECONDS)
    del inside.files["/article.zip"]
    ctx, project = make("c")
    template_cache.provide(ctx, project)
    assert placed(project) == newer
    assert warnings(ctx) == [
        "Using the cached copy of template journal/article: a newer version could not be fetched: "
        f"http://{inside.host}/article.zip answered with 404."
    ]


@real
def test_a_template_that_was_fetched_before_the_clock_stepped_back_is_renewed(make: Make, inside: Mirror, tmp_path: Path) -> None:
    template_cache.provide(*make("a"))
    age(tmp_path / "cache", -24 * 3600)
    before = len(asked(inside))
    template_cache.provide(*make("b"))
    assert len(asked(inside)) > before


@real
def test_a_failed_fetch_is_not_repeated_by_the_next_build(make: Make, inside: Mirror, tmp_path: Path) -> None:
    inside.files[NAME] = b"{}"
    for name in ("a", "b"):
        ctx, project = make(name)
        template_cache.provide(ctx, project)
        [warning] = warnings(ctx)
        assert f"http://{inside.host}{NAME} does not name a download" in warning
    assert asked(inside) == [NAME]
    age(tmp_path / "cache", template_cache.RETRY_AFTER_SECONDS)
    template_cache.provide(*make("c"))
    assert asked(inside) == [NAME] * 2
    age(tmp_path / "cache", -3600)
    template_cache.provide(*make("d"))
    assert asked(inside) == [NAME] * 3, "the clock has stepped back"


@real
@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (zipped(FILES, top="../"), "its archive can't be unpacked safely"),
        (zipped(FILES, "link"), "its archive can't be unpacked safely"),
        (zipped({**FILES, "big": "\0" * (101 << 20)}), "it is too large"),
        (b"no zip", "its archive is damaged"),
        (zipped({"other": ""}), "it has no template.yml"),
    ],
    ids=["up", "link", "bomb", "no zip", "no template"],
)
def test_an_unsafe_or_invalid_template_is_not_cached(
    make: Make, inside: Mirror, tmp_path: Path, archive: bytes, why: str
) -> None:
    inside.files["/article.zip"] = archive
    ctx, project = make("a")
    template_cache.provide(ctx, project)
    assert warnings(ctx) == [f"Template journal/article is not available: {why}."]
    assert placed(project) == {}
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@real
def test_a_template_is_not_fetched_from_hosts_that_the_build_may_not_reach(make: Make, inside: Mirror) -> None:
    inside.redirects["/article.zip"] = "https://169.254.169.254/latest/meta-data/"
    ctx, project = make("a")
    template_cache.provide(ctx, project)
    [warning] = warnings(ctx)
    assert "the proxy refused access to '169.254.169.254'" in warning
    ctx, project = make("b", hosts=Hosts())
    os.utime(next(ctx.template_cache.glob("*.failed")), (0, 0))  # type: ignore[union-attr]  # there is one
    template_cache.provide(ctx, project)
    [warning] = warnings(ctx)
    assert "the proxy refused access to" in warning
    assert asked(inside) == [NAME, "/article.zip"]


@real
@pytest.mark.parametrize("way", ["link", "redirect"])
def test_a_template_comes_over_https_or_from_the_operator_s_own_service(make: Make, inside: Mirror, way: str) -> None:
    if way == "link":
        inside.files[NAME] = json.dumps({"links": {"download": "http://example.org/article.zip"}}).encode()
    else:
        inside.redirects["/article.zip"] = "http://example.org/article.zip"
    ctx, project = make("a")
    template_cache.provide(ctx, project)
    assert [text.rpartition(": http")[2].partition(" ")[2] for text in warnings(ctx)] == ["is not available over HTTPS."]
    assert placed(project) == {}


def test_nothing_is_fetched_without_a_sandbox_or_a_cache(tmp_path: Path) -> None:
    for changes in ({"template_cache": tmp_path / "cache"}, {}):
        ctx = make_context(tmp_path, **changes)
        template_cache.provide(ctx, Project(tmp_path, tmp_path / "myst.yml"))
    assert not (tmp_path / "cache").exists()


# --- kept within its limits


def kept(cache: Path, name: str, *, unused: float, size: int = 10) -> Path:
    entry = cache / hashlib.sha256(name.encode()).hexdigest()
    (entry / "repository").mkdir(parents=True)
    (entry / "source.json").write_text(json.dumps({"room": str(size)}))
    os.utime(entry, (time.time() - unused,) * 2)
    return entry


def test_unused_and_excess_entries_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_cache, "MAX_CACHE_BYTES", 20_000)
    used, old = kept(tmp_path, "used", unused=10), kept(tmp_path, "old", unused=template_cache.MAX_UNUSED_SECONDS + 60)
    large, later = kept(tmp_path, "large", unused=20, size=19_995), kept(tmp_path, "later", unused=30)
    left, new = tmp_path / "abc-left", tmp_path / "abc-new"
    for path in (left, new):
        path.mkdir()
    forgotten, failed = tmp_path / "a.failed", tmp_path / "b.failed"
    for path in (forgotten, failed):
        path.write_text("why")
    lock, held = tmp_path / "c.lock", tmp_path / "d.lock"
    with template_cache._locked(tmp_path / "d", Stop()):
        lock.touch()
        for path in (left, forgotten, lock, held):
            os.utime(path, (0, 0))
        template_cache.sweep(tmp_path)
        paths = (used, old, large, later, left, new, forgotten, failed, lock, held)
        assert [path.exists() for path in paths] == [True, False, False, False, False, True, False, True, False, True]


def test_only_one_build_at_a_time_has_an_entry_and_no_lock_is_left(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def take(_number: int) -> None:
        with template_cache._locked(tmp_path / "entry", Stop()):
            inside.append(1)
            time.sleep(0.01)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(16)))
    assert (most, list(tmp_path.glob("*.lock"))) == ([1] * 16, [])


def test_an_entry_in_use_is_not_removed(tmp_path: Path) -> None:
    ctx = make_context(tmp_path)
    entry = kept(tmp_path / "cache", "old", unused=template_cache.MAX_UNUSED_SECONDS + 60)
    with template_cache._locked(entry, ctx.stop):
        template_cache.sweep(tmp_path / "cache")
        assert entry.exists()
    template_cache.sweep(tmp_path / "cache")
    assert not entry.exists()


def test_sweeping_a_missing_cache_does_nothing(tmp_path: Path) -> None:
    template_cache.sweep(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
