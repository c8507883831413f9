"""The stage fetch: what it pins, and when."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from builds.engine.clients.archive import ArchiveHost
from builds.engine.clients.kept_archives import KeptArchives
from builds.engine.context import Limits
from builds.engine.manuscript.project import Archive
from builds.engine.manuscript.url import ManuscriptUrl
from builds.engine.stages.fetch import fetch, fetch_unless
from builds.errors import ArchiveHostDown, ArchiveNotFound, ArchiveTooLarge
from tests import standins
from tests.support.stage_context import KeptReport, make_context

FILES = {"myst.yml": "version: 1\n"}


def run(tmp_path: Path, host: standins.ArchiveHost, tail: str = "main/myst.yml", **overrides: Any) -> tuple[Archive, KeptReport]:
    report = KeptReport()
    context = make_context(
        tmp_path,
        url=ManuscriptUrl.parse(f"https://github.com/o/r/blob/{tail}"),
        archive_host=ArchiveHost(host.url, patience_seconds=2),
        report=report,
        **overrides,
    )
    return fetch(context), report


def test_the_commit_is_pinned_before_the_download(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        pinned_at: list[int] = []
        report = KeptReport()
        report.commit = lambda **pinned: pinned_at.append(len(host.requests))  # type: ignore[method-assign]
        context = make_context(
            tmp_path,
            url=ManuscriptUrl.parse("https://github.com/o/r/blob/main/myst.yml"),
            archive_host=ArchiveHost(host.url),
            report=report,
        )
        archive = fetch(context)
        assert (archive.commit, archive.ref, archive.project_path) == (commit, "main", "myst.yml")
        assert [request.path for request in host.requests[: pinned_at[0]]] == ["/o/r.git/info/refs?service=git-upload-pack"]


def test_without_a_list_of_refs_the_commit_is_the_archives_comment(tmp_path: Path) -> None:
    with standins.ArchiveHost(listing=False) as host:
        commit = host.add("o", "r", FILES, ref="feature/x")
        archive, report = run(tmp_path, host, "feature/x/paper/myst.yml")
        assert (archive.commit, archive.ref, archive.project_path) == (commit, "feature/x", "paper/myst.yml")
        assert report.pinned == [{"commit": commit, "ref": "feature/x", "path": "paper/myst.yml"}]


def test_a_pinned_commit_is_fetched_without_listing_refs(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        host.add("o", "r", {**FILES, "new": ""})
        archive, _report = run(tmp_path, host, pinned_commit=commit, pinned_path="myst.yml")
        assert archive.commit == commit
        assert "info/refs" not in str([request.path for request in host.requests])


def test_a_short_commit_is_pinned_in_full(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        old = host.add("o", "r", FILES)
        host.add("o", "r", {**FILES, "new": ""})
        archive, report = run(tmp_path, host, f"{old[:8]}/myst.yml")
        assert (archive.commit, report.pinned[-1]["commit"]) == (old, old)
        with zipfile.ZipFile(archive.path) as zipped:
            assert len(zipped.namelist()) == 2


@pytest.mark.parametrize("listing", [True, False])
def test_a_missing_repository_raises_archive_not_found(tmp_path: Path, listing: bool) -> None:
    with (
        standins.ArchiveHost(listing=listing) as host,
        pytest.raises(ArchiveNotFound, match="branch or file not found, or private"),
    ):
        run(tmp_path, host)


@pytest.mark.slow
def test_a_download_that_is_not_an_archive_is_tried_again_and_then_fails(tmp_path: Path) -> None:
    with standins.ArchiveHost(listing=False) as host:
        host.add("o", "r", FILES)
        host.fail("/zip/", status=200, times=99)
        with pytest.raises(ArchiveHostDown, match="not a complete zip archive"):
            run(tmp_path, host)
        assert len(host.requests) > 2


def kept_archives(tmp_path: Path, host: standins.ArchiveHost) -> KeptArchives:
    return KeptArchives(tmp_path / "archives", host.url, max_bytes=1_000_000)


def downloads(host: standins.ArchiveHost) -> list[str]:
    return [request.path for request in host.requests if "/codeload/" in request.path]


def test_a_listed_commit_is_downloaded_once(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        archives = kept_archives(tmp_path, host)
        first, _report = run(tmp_path, host, archives=archives)
        content = first.path.read_bytes()
        second, report = run(tmp_path, host, archives=archives)
        assert (second.commit, second.path.read_bytes()) == (commit, content)
        assert len(downloads(host)) == 1
        assert report.lookups == [("archive", 1, 0)]
        host.add("o", "r", {**FILES, "new": ""})
        third, _report = run(tmp_path, host, archives=archives)
        assert third.commit != commit
        assert len(downloads(host)) == 2


@pytest.mark.parametrize("changed", [False, True])
def test_a_commit_that_is_not_listed_is_asked_for_with_its_etag(tmp_path: Path, changed: bool) -> None:
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        archives = kept_archives(tmp_path, host)
        run(tmp_path, host, archives=archives)
        host.requests.clear()
        if changed:
            host.fail("/codeload/", status=200, headers={"ETag": '"other"'})
        run(tmp_path, host, archives=archives, pinned_commit=commit, pinned_path="myst.yml")
        asked = [request.headers.get("If-None-Match") for request in host.requests if "/codeload/" in request.path]
        assert asked == ([f'W/"{commit}"', None] if changed else [f'W/"{commit}"'])


def test_a_kept_archive_of_a_commit_that_is_gone_is_not_used(tmp_path: Path) -> None:
    """Its repository may be private by now."""
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        archives = kept_archives(tmp_path, host)
        run(tmp_path, host, archives=archives)
        host.fail("/archive/", status=404, times=100)
        with pytest.raises(ArchiveNotFound):
            run(tmp_path, host, archives=archives, pinned_commit=commit, pinned_path="myst.yml")
        host.listing = False
        with pytest.raises(ArchiveNotFound):
            run(tmp_path, host, archives=archives)


def test_a_damaged_archive_is_downloaded_again(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        commit = host.add("o", "r", FILES)
        archives = kept_archives(tmp_path, host)
        for _ in range(2):
            archive, _report = run(tmp_path, host, archives=archives)
            assert zipfile.is_zipfile(archive.path)
            kept = archives.find("o/r", commit)
            assert kept
            kept.path.unlink()
            kept.path.write_bytes(b"damaged")
        assert len(downloads(host)) == 2


def test_a_kept_archive_may_not_be_larger_than_the_limit_of_today(tmp_path: Path) -> None:
    with standins.ArchiveHost() as host:
        host.add("o", "r", FILES)
        archives = kept_archives(tmp_path, host)
        run(tmp_path, host, archives=archives)
        with pytest.raises(ArchiveTooLarge):
            run(tmp_path, host, archives=archives, limits=Limits(archive_bytes=10))


@pytest.mark.parametrize(("tail", "is_asked"), [("main/myst.yml", False), ("COMMIT/myst.yml", False), ("OLD/myst.yml", True)])
def test_a_result_is_used_only_if_the_commit_can_be_fetched_now(tmp_path: Path, tail: str, is_asked: bool) -> None:
    with standins.ArchiveHost() as host:
        old = host.add("o", "r", FILES)
        commit = host.add("o", "r", {**FILES, "new": ""})
        url = ManuscriptUrl.parse(f"https://github.com/o/r/blob/{tail.replace('COMMIT', commit).replace('OLD', old)}")
        context = make_context(tmp_path, url=url, archive_host=ArchiveHost(host.url, patience_seconds=2))
        asked: list[tuple[str, str]] = []

        def has_result(commit: str, path: str) -> bool:
            asked.append((commit, path))
            return True

        assert fetch_unless(context, has_result) is None
        assert asked == [(old if is_asked else commit, "myst.yml")]
        assert bool(downloads(host)) == is_asked
        host.fail("/archive/", status=404, times=100)
        if is_asked:
            with pytest.raises(ArchiveNotFound):
                fetch_unless(context, has_result)
        else:
            assert fetch_unless(context, has_result) is None
