"""Folders of builds are removed whatever the build has done to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builds.engine.manuscript.exports import Export
from builds.errors import ExportOutside
from builds.record import kept_exports
from builds.record.workspaces import remove_folder
from tests.support.rows import claim, submit


def test_a_workspace_without_permissions_is_removed(tmp_path: Path) -> None:
    inside = tmp_path / "workspace" / "packages" / "deep"
    inside.mkdir(parents=True)
    (inside / "file").write_text("x")
    for folder in (inside, inside.parent):
        folder.chmod(0o500)
    if os.getuid() == 0:  # permissions do not stop root
        remove_as_nobody(tmp_path)
    else:
        remove_folder(tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def remove_as_nobody(parent: Path) -> None:
    for path in [parent, *parent.rglob("*")]:
        os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(parent)
            os.setresuid(65534, 65534, 65534)
            remove_folder(Path("workspace"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_the_targets_of_links_are_left_alone(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "workspace"
    outside.mkdir(mode=0o500)
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    remove_folder(folder)
    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_missing_folder_is_not_an_error(tmp_path: Path) -> None:
    remove_folder(tmp_path / "none")


def test_a_link_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link.pdf").symlink_to("secret")
    with pytest.raises(ExportOutside, match="not a regular file"):
        kept_exports._move(Export("pdf", "a.pdf", tmp_path / "link.pdf", 1, "0"), "folder", 1)


@pytest.mark.django_db
def test_exports_that_are_recorded_again_because_the_answer_was_lost_have_one_row_each() -> None:
    build = claim(submit())
    export = kept_exports.KeptExport("pdf", "article.pdf", Path(f"{build.pk}/1-pdf.pdf"), 1, "0" * 64)
    for _ in range(2):
        kept_exports._record(build, [export])
    assert build.artifacts.count() == 1
