"""The warnings of ``serve`` about a wrong configuration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from builds.lib import release
from builds.service.installed import Installation
from builds.service.serve import unknown_clients, unshared


@pytest.mark.parametrize(("https", "proxies", "sentences"), [(True, 0, 1), (True, 1, 0), (False, 0, 0)])
def test_a_proxy_that_is_not_configured_is_reported(settings: Any, https: bool, proxies: int, sentences: int) -> None:
    settings.HTTPS, settings.PROXIES = https, proxies
    said = unknown_clients()
    assert len(said) == sentences
    assert all("Set PROXIES" in sentence for sentence in said)


@pytest.mark.parametrize("is_named_by_link", [True, False])
def test_a_program_is_started_from_the_release_that_the_link_points_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_named_by_link: bool
) -> None:
    """Also once ``serve`` has started itself again in its own folder: the interpreter is then named by that folder."""
    current = tmp_path / "current"
    for number in ("1", "2"):
        (tmp_path / number / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.setattr(release, "ROOT", tmp_path / "1")
    own = current if is_named_by_link else tmp_path / "1"
    monkeypatch.setattr(sys, "executable", str(own / ".venv" / "bin" / "python"))
    command = Installation(current).command("web", "--fd", "5")
    for number in ("1", "2"):
        current.unlink(missing_ok=True)
        current.symlink_to(number)
        folder = str(tmp_path / number)
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
