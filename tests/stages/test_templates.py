"""The cache of templates: a real mirror, fetched from inside this machine's real sandbox through the real proxy."""

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

from builds.sandbox import Policy
from builds.sandbox_choice import choose
from builds.stages import Context, Hosts, Project, Stop, templates
from builds.stages.build import build
from builds.toolchain import TYPST_TEMPLATE
from tests.mirror import Mirror, mirror, private_address
from tests.stages.context import KeptLog, make_context
from tests.test_export_templates import exports, project_of
from tests.test_sandbox import MODES

NAME = "/templates/typst/journal/article"
FILES = {path.name: path.read_text() for path in sorted(TYPST_TEMPLATE.iterdir())}
real = pytest.mark.skipif(not (MODES and private_address()), reason="no sandbox, or no private address beside loopback")


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
    """A build of a manuscript that names the mirror's template, in a workspace of its own."""

    def make_one(name: str, *, hosts: Hosts | None = None, mode: str = MODES[0]) -> tuple[Context, Project]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        ctx = make_context(
            folder,
            build_hosts=hosts or Hosts(private=(inside.host,)),
            template_cache=tmp_path / "cache",
            template_service=f"http://{inside.host}",
        )
        sandbox = choose(mode, Policy(hidden=(tmp_path / "cache",))).sandbox(ctx.workspace, ctx.build_id)
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
@pytest.mark.parametrize("mode", MODES)
def test_it_is_fetched_once_for_all_builds(make: Make, inside: Mirror, mode: str) -> None:
    for name in ("a", "b", "c"):
        ctx, project = make(name, mode=mode)
        templates.provide(ctx, project)
        assert (placed(project), warnings(ctx)) == (FILES, [])
        assert f"(sha256 {hashlib.sha256(inside.files['/article.zip']).hexdigest()})" in str(ctx.log)
        assert list(ctx.workspace.glob("template*")) == []
    assert asked(inside) == [NAME, "/article.zip"]


@real
def test_of_many_builds_at_once_one_fetches_it(make: Make, inside: Mirror) -> None:
    builds = [make(f"build-{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda each: templates.provide(*each), builds))
    assert [placed(project) for _ctx, project in builds] == [FILES] * 4
    assert asked(inside) == [NAME, "/article.zip"]


@real
def test_a_build_that_changes_its_copy_changes_no_other(make: Make, tmp_path: Path) -> None:
    ctx, project = make("a")
    templates.provide(ctx, project)
    for path in (project.folder / "_build/templates/typst/journal/article").iterdir():
        path.write_text("evil")
    ctx, project = make("b")
    templates.provide(ctx, project)
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
@pytest.mark.parametrize("mode", MODES)
def test_a_build_reaches_its_copy_and_not_the_cache(make: Make, tmp_path: Path, mode: str) -> None:
    ctx, project = make("a", mode=mode)
    build(replace(ctx, build_command=TRY.format(cache=tmp_path / "cache")), project)
    assert isinstance(ctx.log, KeptLog)
    assert [text for stream, text in ctx.log.lines if stream == "stdout"][:1] == [
        "_build/templates/typst/journal/article/template.yml"
    ]
    assert (project.folder / "_build/templates/typst/journal/article/template.yml").read_text() == "poison\n"
    ctx, project = make("b", mode=mode)
    templates.provide(ctx, project)
    assert placed(project) == FILES


@real
@pytest.mark.parametrize("change", ["content", "right", "link", "more", "less"])
def test_what_was_changed_in_the_cache_is_fetched_anew(make: Make, tmp_path: Path, inside: Mirror, change: str) -> None:
    templates.provide(*make("a"))
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
    templates.provide(ctx, project)
    assert (placed(project), warnings(ctx)) == (FILES, [])
    assert asked(inside) == [NAME, "/article.zip"] * 2


@real
def test_a_cache_that_can_t_be_kept_stops_no_build(make: Make, tmp_path: Path, inside: Mirror) -> None:
    (tmp_path / "cache").write_text("a file")
    ctx, project = make("a")
    templates.provide(ctx, project)
    assert warnings(ctx) == ["The template journal/article could not be had: the service can't keep it (File exists)."]
    assert asked(inside) == []


@real
def test_myst_makes_a_pdf_of_it_without_a_network(make: Make, inside: Mirror) -> None:
    ctx, project = make("a")
    made = build(replace(ctx, declared_exports=({"format": "typst", "output": "a.pdf"},)), project)
    assert [(plan.role, plan.path.is_file()) for plan in made.exports if plan.role == "typst"] == [("typst", True)]
    assert "the journal's own template" not in str(ctx.log)
    assert asked(inside) == [NAME, "/article.zip"]


@real
@pytest.mark.parametrize(("command", "answer"), [("ls _build/templates/site/journal/theme", "template.yml"), ("myst", "")])
def test_a_command_of_the_repository_s_own_finds_the_site_s_theme(make: Make, inside: Mirror, command: str, answer: str) -> None:
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
def test_what_the_author_keeps_there_stays(make: Make, inside: Mirror) -> None:
    ctx, project = make("a")
    folder = project.folder / "_build/templates/typst/journal/article"
    folder.mkdir(parents=True)
    (folder / "template.yml").write_text("mine")
    templates.provide(ctx, project)
    assert (placed(project), asked(inside)) == ({"template.yml": "mine"}, [])


@real
def test_a_link_in_its_place_leads_nowhere(make: Make, tmp_path: Path) -> None:
    ctx, project = make("a")
    (tmp_path / "outside").mkdir()
    (project.folder / "_build").symlink_to(tmp_path / "outside")
    templates.provide(ctx, project)
    assert list((tmp_path / "outside").iterdir()) == []
    assert [text.partition(":")[0] for text in warnings(ctx)] == ["The template journal/article could not be had"]


def age(cache: Path, seconds: float) -> None:
    """Make all that is kept so much older."""
    for path in cache.rglob("source.json"):
        source = json.loads(path.read_text())
        path.write_text(json.dumps({**source, "at": str(float(source["at"]) - seconds)}))
    for path in cache.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


@real
def test_it_is_renewed_after_a_day_and_kept_where_that_fails(make: Make, inside: Mirror, tmp_path: Path) -> None:
    templates.provide(*make("a"))
    age(tmp_path / "cache", templates.FRESH_SECONDS)
    newer = {**FILES, "template.typ": "newer"}
    inside.files["/article.zip"] = zipped(newer)
    ctx, project = make("b")
    templates.provide(ctx, project)
    assert placed(project) == newer
    age(tmp_path / "cache", templates.FRESH_SECONDS)
    del inside.files["/article.zip"]
    ctx, project = make("c")
    templates.provide(ctx, project)
    assert placed(project) == newer
    assert warnings(ctx) == [
        "The template journal/article is taken as it was kept, because a newer one could not be had: "
        f"http://{inside.host}/article.zip was answered with 404."
    ]


@real
def test_who_could_not_be_had_is_not_asked_by_each_build_that_comes(make: Make, inside: Mirror, tmp_path: Path) -> None:
    inside.files[NAME] = b"{}"
    for name in ("a", "b"):
        ctx, project = make(name)
        templates.provide(ctx, project)
        [warning] = warnings(ctx)
        assert f"http://{inside.host}{NAME} names no download" in warning
    assert asked(inside) == [NAME]
    age(tmp_path / "cache", templates.FAILURE_SECONDS)
    templates.provide(*make("c"))
    assert asked(inside) == [NAME] * 2


@real
@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (zipped(FILES, top="../"), "its archive holds what can't be unpacked safely"),
        (zipped(FILES, "link"), "its archive holds what can't be unpacked safely"),
        (zipped({**FILES, "big": "\0" * (101 << 20)}), "it is too large"),
        (b"no zip", "its archive is damaged"),
        (zipped({"other": ""}), "it holds no template.yml"),
    ],
    ids=["up", "link", "bomb", "no zip", "no template"],
)
def test_what_is_no_harmless_template_is_not_kept(make: Make, inside: Mirror, tmp_path: Path, archive: bytes, why: str) -> None:
    inside.files["/article.zip"] = archive
    ctx, project = make("a")
    templates.provide(ctx, project)
    assert warnings(ctx) == [f"The template journal/article could not be had: {why}."]
    assert placed(project) == {}
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@real
def test_hosts_that_a_build_may_not_ask_are_not_asked_for_it(make: Make, inside: Mirror) -> None:
    inside.redirects["/article.zip"] = "https://169.254.169.254/latest/meta-data/"
    ctx, project = make("a")
    templates.provide(ctx, project)
    [warning] = warnings(ctx)
    assert "the network refused '169.254.169.254'" in warning
    ctx, project = make("b", hosts=Hosts())
    os.utime(next(ctx.template_cache.glob("*.failed")), (0, 0))  # type: ignore[union-attr]  # there is one
    templates.provide(ctx, project)
    [warning] = warnings(ctx)
    assert "the network refused" in warning
    assert asked(inside) == [NAME, "/article.zip"]


@real
@pytest.mark.parametrize("way", ["link", "redirect"])
def test_what_is_kept_for_all_comes_over_https_or_from_the_operator_s_own_service(make: Make, inside: Mirror, way: str) -> None:
    if way == "link":
        inside.files[NAME] = json.dumps({"links": {"download": "http://example.org/article.zip"}}).encode()
    else:
        inside.redirects["/article.zip"] = "http://example.org/article.zip"
    ctx, project = make("a")
    templates.provide(ctx, project)
    assert [text.rpartition(": http")[2].partition(" ")[2] for text in warnings(ctx)] == ["is not to be had over HTTPS."]
    assert placed(project) == {}


def test_without_a_sandbox_or_a_cache_nothing_is_fetched(tmp_path: Path) -> None:
    for changes in ({"template_cache": tmp_path / "cache"}, {}):
        ctx = make_context(tmp_path, **changes)
        templates.provide(ctx, Project(tmp_path, tmp_path / "myst.yml"))
    assert not (tmp_path / "cache").exists()


# --- kept in bounds


def kept(cache: Path, name: str, *, unused: float, size: int = 10) -> Path:
    entry = cache / hashlib.sha256(name.encode()).hexdigest()
    (entry / "repository").mkdir(parents=True)
    (entry / "source.json").write_text(json.dumps({"room": str(size)}))
    os.utime(entry, (time.time() - unused,) * 2)
    return entry


def test_what_nobody_uses_and_what_is_too_much_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "CACHE_BYTES", 20_000)
    used, old = kept(tmp_path, "used", unused=10), kept(tmp_path, "old", unused=templates.UNUSED_SECONDS + 60)
    large, later = kept(tmp_path, "large", unused=20, size=19_995), kept(tmp_path, "later", unused=30)
    left, new = tmp_path / "abc-left", tmp_path / "abc-new"
    for path in (left, new):
        path.mkdir()
    forgotten, failed = tmp_path / "a.failed", tmp_path / "b.failed"
    for path in (forgotten, failed):
        path.write_text("why")
    lock, held = tmp_path / "c.lock", tmp_path / "d.lock"
    with templates._locked(tmp_path / "d", Stop()):
        lock.touch()
        for path in (left, forgotten, lock, held):
            os.utime(path, (0, 0))
        templates.sweep(tmp_path)
        paths = (used, old, large, later, left, new, forgotten, failed, lock, held)
        assert [path.exists() for path in paths] == [True, False, False, False, False, True, False, True, False, True]


def test_of_many_builds_one_at_a_time_has_an_entry_and_no_lock_is_left(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def take(_number: int) -> None:
        with templates._locked(tmp_path / "entry", Stop()):
            inside.append(1)
            time.sleep(0.01)
            most.append(len(inside))
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, range(16)))
    assert (most, list(tmp_path.glob("*.lock"))) == ([1] * 16, [])


def test_what_a_build_takes_just_now_is_not_removed(tmp_path: Path) -> None:
    ctx = make_context(tmp_path)
    entry = kept(tmp_path / "cache", "old", unused=templates.UNUSED_SECONDS + 60)
    with templates._locked(entry, ctx.stop):
        templates.sweep(tmp_path / "cache")
        assert entry.exists()
    templates.sweep(tmp_path / "cache")
    assert not entry.exists()


def test_there_may_be_no_cache_yet(tmp_path: Path) -> None:
    templates.sweep(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
