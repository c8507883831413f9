"""Fetching: what is pinned, and when."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from builds.clients.archive import ArchiveHost
from builds.errors import ArchiveHostDown, ArchiveNotFound
from builds.manuscript_url import ManuscriptUrl
from builds.stages import Archive
from builds.stages.fetch import fetch
from tests import standins
from tests.stages.context import KeptReport, make_context

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


def test_without_a_listing_the_commit_is_the_archives_comment(tmp_path: Path) -> None:
    with standins.ArchiveHost(listing=False) as host:
        commit = host.add("o", "r", FILES, ref="feature/x")
        archive, report = run(tmp_path, host, "feature/x/paper/myst.yml")
        assert (archive.commit, archive.ref, archive.project_path) == (commit, "feature/x", "paper/myst.yml")
        assert report.pinned == [{"commit": commit, "ref": "feature/x", "path": "paper/myst.yml"}]


def test_a_retry_of_the_same_commit_asks_for_no_ref(tmp_path: Path) -> None:
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
def test_what_is_not_there_is_told(tmp_path: Path, listing: bool) -> None:
    with (
        standins.ArchiveHost(listing=listing) as host,
        pytest.raises(ArchiveNotFound, match="branch or file not found, or private"),
    ):
        run(tmp_path, host)


def test_what_is_no_archive_is_asked_for_again_and_then_told(tmp_path: Path) -> None:
    with standins.ArchiveHost(listing=False) as host:
        host.add("o", "r", FILES)
        host.fail("/zip/", status=200, times=99)
        with pytest.raises(ArchiveHostDown, match="no whole zip archive"):
            run(tmp_path, host)
        assert len(host.requests) > 2
