"""Another release is noticed by its files and its packages."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from builds.lib import release


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("builds/engine/tools/enter.py", "templates/base.html", "packages/mystmd-1.0.dist-info/METADATA"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "PACKAGES", tmp_path / "packages")
    monkeypatch.setattr(release, "AT_START", release.stamp())
    return tmp_path


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("new!")


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: write(folder / "templates" / "base.html"),
    lambda folder: os.utime(folder / "templates" / "base.html", (1, 1)),
    lambda folder: write(folder / "builds" / "new.py"),
    lambda folder: (folder / "builds" / "engine" / "tools" / "enter.py").unlink(),
    lambda folder: (folder / "packages" / "mystmd-1.0.dist-info").rename(folder / "packages" / "mystmd-1.1.dist-info"),
    lambda folder: (folder / "builds").rename(folder / "gone"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_installation_is_noticed(installed: Path, change: Callable[[Path], object]) -> None:
    assert not release.has_changed()
    change(installed)
    assert release.has_changed()


@pytest.mark.parametrize(
    "name", ["builds/__pycache__/a.pyc", "builds/engine/__pycache__/b.pyc", "data/jobsite.sqlite3", "packages/x.py"]
)
def test_what_a_running_service_writes_is_no_change(installed: Path, name: str) -> None:
    write(installed / name)
    assert not release.has_changed()
