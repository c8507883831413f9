"""Honest and hostile archives."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builds.errors import ArchiveBroken, ArchiveTooLarge, ArchiveUnsafe, BuildError, ProjectFileMissing
from builds.stages import Archive, Limits, Project
from builds.stages.unpack import unpack
from tests.stages.context import KeptLog, make_context

PROJECT = ("repo-main/myst.yml", b"version: 1\n")
LIMITS = Limits(unpacked_bytes=30_000_000, entry_bytes=25_000_000, entries=50, ratio_from_bytes=10_000_000)

Entry = tuple[str | zipfile.ZipInfo, bytes]


def special(name: str, mode: int, data: bytes = b"") -> Entry:
    """An entry of a Unix archive with its mode."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info, data


def link(name: str, target: str) -> Entry:
    return special(name, stat.S_IFLNK | 0o777, target.encode())


def zipped(path: Path, *entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.comment = b"0" * 40
        for name, data in entries:
            if isinstance(name, zipfile.ZipInfo):
                name.compress_type = compression
            archive.writestr(name, data)
    return path


def run(tmp_path: Path, *entries: Entry, project_path: str = "myst.yml", **overrides: Any) -> tuple[Project, KeptLog]:
    path = zipped(tmp_path / "a.zip", *entries)
    return unpacked(tmp_path, path, project_path=project_path, **overrides)


def unpacked(tmp_path: Path, path: Path, *, project_path: str = "myst.yml", **overrides: Any) -> tuple[Project, KeptLog]:
    log = KeptLog()
    context = make_context(tmp_path, log=log, **{"limits": LIMITS, **overrides})
    return unpack(context, Archive(path, "0" * 40, "main", project_path)), log


def test_files_folders_links_and_execute_bits_are_kept(tmp_path: Path) -> None:
    project, log = run(
        tmp_path,
        PROJECT,
        special("repo-main/run.sh", stat.S_IFREG | 0o755, b"#!/bin/sh\n"),
        ("repo-main/empty/", b""),
        ("repo-main/.hidden", b""),
        ("repo-main/a b/ü.md", b"text"),
        link("repo-main/docs/link.md", "../a b/ü.md"),
        link("repo-main/folder", "a b"),
        link("repo-main/dangling", "nowhere"),
    )
    root = project.root
    assert project.file == root / "myst.yml"
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "myst.yml").stat().st_mode & 0o777 == 0o644
    assert (root / "empty").is_dir()
    assert (root / "docs/link.md").read_text() == "text"
    assert (root / "folder").is_symlink()
    assert (root / "folder/ü.md").read_text() == "text"
    assert (root / ".hidden").read_bytes() == b""
    assert log.warnings == []


@pytest.mark.parametrize("top", ["renamed-1234/", "a/", ""])
def test_the_top_folder_may_have_any_name(tmp_path: Path, top: str) -> None:
    project, _log = run(tmp_path, (f"{top}myst.yml", b""), (f"{top}x/index.md", b""))
    assert (project.root / "x/index.md").is_file()


def test_the_project_file_may_be_in_a_folder_under_any_name(tmp_path: Path) -> None:
    project, _log = run(tmp_path, ("r/docs/paper.yaml", b""), ("r/b", b""), project_path="docs/paper.yaml")
    assert project.folder == project.root / "docs"


HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "absolute path": ([("/etc/passwd", b"x")], "'/etc/passwd': its path is absolute"),
    "upwards": ([("repo-main/../../x", b"x")], "leads upwards"),
    "upwards at the end": ([("repo-main/a/..", b"x")], "leads upwards"),
    "upwards with backslashes": ([("repo-main\\..\\..\\x", b"x")], "leads upwards"),
    "absolute with backslash": ([("\\windows\\x", b"x")], "absolute"),
    "drive letter": ([("C:/windows/x", b"x")], "drive letter"),
    "drive letter below the top": ([("repo-main/C:/x", b"x")], "drive letter"),
    "drive-relative": ([("repo-main/c:x", b"x")], "drive letter"),
    "character device": ([special("repo-main/null", stat.S_IFCHR | 0o666)], "'null': it is a device"),
    "block device": ([special("repo-main/disk", stat.S_IFBLK | 0o666)], "device"),
    "pipe": ([special("repo-main/pipe", stat.S_IFIFO | 0o666)], "pipe"),
    "socket": ([special("repo-main/sock", stat.S_IFSOCK | 0o666)], "socket"),
    "absolute link": ([link("repo-main/l", "/etc/passwd")], "'l': it is a link that leads out"),
    "link upwards": ([link("repo-main/l", "../../etc/passwd")], "leads out"),
    "link to the parent": ([link("repo-main/l", "..")], "leads out"),
    "link through a link": ([link("repo-main/a/up", "../.."), ("repo-main/a/f", b"")], "leads out"),
    "links that climb together": (
        [("repo-main/d/e/f", b""), link("repo-main/deep", "d/e"), link("repo-main/out", "deep/../../../x")],
        "leads out",
    ),
    "writing through a link": ([link("repo-main/l", "d"), ("repo-main/d/f", b""), ("repo-main/l/x", b"x")], "'l' is no folder"),
    "long link": ([link("repo-main/l", "x" * 5000)], "too long a target"),
    "empty link": ([link("repo-main/l", "")], "without a usable target"),
    "differs by case": ([("repo-main/Fig.png", b""), ("repo-main/fig.png", b"")], "differs from 'Fig.png' only by case"),
    "folders differ by case": ([("repo-main/A/x", b""), ("repo-main/a/x", b"")], "only by case"),
    "differs by composition": ([("repo-main/u\u0308", b""), ("repo-main/ü", b"")], "only by case"),
    "file and folder": ([("repo-main/x", b""), ("repo-main/x/y", b"")], "'x' is no folder"),
    "long name": ([("repo-main/" + "n" * 300, b"")], "too long"),
    "deep": ([("repo-main/" + "d/" * 3000 + "x", b"")], "too long"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("entries", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_entry_is_refused_and_named(tmp_path: Path, entries: list[Entry], words: str) -> None:
    with pytest.raises(ArchiveUnsafe) as refused:
        run(tmp_path, PROJECT, *entries)
    assert words in refused.value.sentence
    assert not (tmp_path / "x").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnsafe, match="holds it twice"):
        run(tmp_path, PROJECT, PROJECT)


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/secret.md", b"text"))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveUnsafe, match=r"secret\.md.*encrypted"):
        unpacked(tmp_path, path)


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/a#.png", b"text"))
    path.write_bytes(path.read_bytes().replace(b"a#.png", b"a\0.png"))
    with pytest.raises(ArchiveUnsafe, match="can't be used"):
        unpacked(tmp_path, path)


def test_an_unknown_packing_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/odd.md", b"text"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.rfind(b"PK\x01\x02") + 10, 97)
    path.write_bytes(data)
    with pytest.raises(BuildError, match=r"odd\.md"):
        unpacked(tmp_path, path)


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    [
        ([(f"repo-main/{n}", b"") for n in range(60)], ArchiveTooLarge, "more than the 50 files"),
        ([("repo-main/big", b"\0" * 26_000_000)], ArchiveTooLarge, "larger than the 25 MB"),
        ([(f"repo-main/{n}", b"\0" * 11_000_000) for n in range(3)], ArchiveTooLarge, "more than the 30 MB"),
        ([("repo-main/bomb", b"\0" * 20_000_000)], ArchiveUnsafe, "200 times its size"),
    ],
    ids=["entries", "one file", "all files", "ratio"],
)
def test_limits_hold(tmp_path: Path, entries: list[Entry], error: type[BuildError], words: str) -> None:
    with pytest.raises(error, match=words):
        run(tmp_path, PROJECT, *entries)


def test_an_archive_that_lies_about_a_size_is_found_out(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/liar", b"\0" * 5_000_000))
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    with pytest.raises(ArchiveBroken, match="liar"):
        unpacked(tmp_path, path)


def test_an_archive_that_lists_a_million_entries_is_refused_without_reading_its_list(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, at + 8, 0xFFF0, 0xFFF0)
    path.write_bytes(data)
    with pytest.raises(ArchiveTooLarge, match="more than the 50"):
        unpacked(tmp_path, path)


@pytest.mark.parametrize("damage", [b"", b"<html>", b"PK\x03\x04" + b"x" * 100, b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_archive_is_told(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(damage)
    with pytest.raises((ArchiveBroken, ArchiveTooLarge)):
        unpacked(tmp_path, path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/x.md", b"some text of some length"), compression=zipfile.ZIP_STORED)
    data = path.read_bytes().replace(b"some text", b"s0me text")
    path.write_bytes(data)
    with pytest.raises(ArchiveBroken, match=r"x\.md"):
        unpacked(tmp_path, path)


def test_lfs_pointers_and_submodules_are_named(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"
    modules = b'[submodule "theme"]\n\tpath = themes/a\n\turl = https://x\n'
    _project, log = run(tmp_path, PROJECT, ("repo-main/data/big.nc", pointer), ("repo-main/.gitmodules", modules))
    assert len(log.warnings) == 2
    assert "data/big.nc" in log.warnings[0]
    assert "Git LFS" in log.warnings[0]
    assert "themes/a" in log.warnings[1]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("r/docs/myst.yml", b""), ("r/x", b"")], "myst.yml was not found in the repository at main. It has docs/myst.yml."),
        ([("r/README.md", b"")], "It has no MyST project file at all."),
        ([("r/MYST.yml", b"")], "was not found"),
    ],
)
def test_a_missing_project_file_is_told_with_what_there_is(tmp_path: Path, entries: list[Entry], words: str) -> None:
    with pytest.raises(ProjectFileMissing) as missing:
        run(tmp_path, *entries)
    assert words in missing.value.sentence
