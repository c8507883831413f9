"""The retry mode ``clean``: the build uses none of the caches that builds share, and leaves nothing in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builds import lifecycle
from builds.engine.clients.archive import ArchiveHost as ArchiveClient
from builds.engine.myst import template_cache
from builds.models import Mode, State
from builds.record import workspaces
from tests.support.in_process import Bench, check_closed, opened

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    settings.BUILD_TEMPLATES_URL, settings.BUILD_DOI_URL = "http://127.0.0.1:9", "http://127.0.0.1:9"
    with opened(settings, monkeypatch) as bench:
        yield bench


@pytest.mark.parametrize("mode", [Mode.LATEST, Mode.CLEAN])
def test_a_clean_build_has_caches_of_its_own(bench: Bench, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Path | None] = []

    def provide(ctx: Any, project: Any, *, site: bool = False) -> None:
        used.extend((ctx.template_cache, ctx.doi_cache))
        ctx.template_cache.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(template_cache, "provide", provide)
    submission = bench.submission()
    bench.run(submission)
    lifecycle.retry(submission, mode, actor="ada")
    used.clear()
    build = bench.run(submission)
    assert build.state == State.SUCCEEDED
    check_closed(build)  # with the workspace its own caches are gone
    shared = [workspaces.template_cache(), workspaces.doi_cache()]
    workspace = workspaces.workspace_of(str(build.pk))
    if mode == Mode.CLEAN:
        assert all(cache and cache.is_relative_to(workspace) for cache in used)
        assert not set(used) & set(shared)
    else:
        assert used == shared


def test_an_automatic_retry_of_a_clean_build_is_clean(bench: Bench) -> None:
    submission = bench.submission()
    bench.run(submission)
    lifecycle.retry(submission, Mode.CLEAN, actor="ada")
    bench.archive.fail("/archive/", status=503, times=100)
    build = bench.run(submission, archive_host=ArchiveClient(bench.archive.url, patience_seconds=0))
    assert build.commit, "it has found its commit, which another retry would build again"
    newest = submission.newest_build()
    assert (newest.mode, newest.automatic, newest.source) == (Mode.CLEAN, True, None)
