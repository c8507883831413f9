"""The warnings of ``serve`` about a wrong configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from builds.service import serve
from builds.service.serve import unknown_clients, unshared


@pytest.mark.parametrize(("https", "proxies", "sentences"), [(True, 0, 1), (True, 1, 0), (False, 0, 0)])
def test_a_proxy_that_is_not_configured_is_reported(settings: Any, https: bool, proxies: int, sentences: int) -> None:
    settings.HTTPS, settings.PROXIES = https, proxies
    said = unknown_clients()
    assert len(said) == sentences
    assert all("Set PROXIES" in sentence for sentence in said)


def test_a_program_is_started_from_the_release_that_the_link_points_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current = tmp_path / "current"
    for release in ("1", "2"):
        (tmp_path / release / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.setattr(serve, "STARTED_IN", current)
    monkeypatch.setattr(sys, "executable", str(current / ".venv" / "bin" / "python"))
    command = serve._manage("web", "--fd", "5")
    for release in ("1", "2"):
        current.unlink(missing_ok=True)
        current.symlink_to(release)
        folder = str(tmp_path / release)
        assert command() == [f"{folder}/.venv/bin/python", f"{folder}/manage.py", "web", "--fd", "5"]
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert command()[0] == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("embedded", "storage", "words"),
    [(True, None, ["REDIS_URL", "EXPORTS_STORAGE"]), (False, None, ["EXPORTS_STORAGE"]), (False, ("exports", ""), [])],
)
def test_what_another_host_does_not_share_is_reported(settings: Any, embedded: bool, storage: object, words: list[str]) -> None:
    settings.REDIS_EMBEDDED, settings.EXPORTS_STORAGE = embedded, storage
    warnings = unshared(["host-b"])
    assert [word in warning and "host-b" in warning for word, warning in zip(words, warnings, strict=True)] == [True] * len(words)
    assert unshared([]) == []
