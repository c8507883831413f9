"""Folders of builds are removed whatever a stranger's program has done to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builds import storage
from builds.errors import ExportOutside
from builds.stages import Export


def test_a_workspace_without_rights_is_removed(tmp_path: Path) -> None:
    inside = tmp_path / "workspace" / "packages" / "deep"
    inside.mkdir(parents=True)
    (inside / "file").write_text("x")
    for folder in (inside, inside.parent):
        folder.chmod(0o500)
    if os.getuid() == 0:  # the rights of a folder mean nothing to root
        remove_as_nobody(tmp_path)
    else:
        storage.remove(tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def remove_as_nobody(parent: Path) -> None:
    for path in [parent, *parent.rglob("*")]:
        os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(parent)
            os.setresuid(65534, 65534, 65534)
            storage.remove(Path("workspace"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_what_links_lead_to_is_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "workspace"
    outside.mkdir(mode=0o500)
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    storage.remove(folder)
    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    storage.remove(tmp_path / "none")


def test_a_link_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link.pdf").symlink_to("secret")
    with pytest.raises(ExportOutside, match="no ordinary file"):
        storage._moved(Export("pdf", "a.pdf", tmp_path / "link.pdf", 1, "0"), tmp_path, 1)
