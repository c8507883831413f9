"""Unpacking ordinary and hostile archives."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from builds.errors import ArchiveBroken, ArchiveTooLarge, ArchiveUnsafe, BuildError
from builds.lib.unzip import UnzipLimits, unzip
from tests.support.zip_files import Entry, link, rename_like_newer_python, renaming_extra, special, zipped

PROJECT = ("repo-main/myst.yml", b"version: 1\n")
LIMITS = UnzipLimits(unpacked_bytes=30_000_000, entry_bytes=25_000_000, entries=50, ratio_from_bytes=10_000_000)


def run(tmp_path: Path, *entries: Entry) -> Path:
    return unpacked(tmp_path, zipped(tmp_path / "a.zip", *entries))


def unpacked(tmp_path: Path, path: Path) -> Path:
    folder = tmp_path / "repository"
    unzip(path, folder, LIMITS)
    return folder


def test_files_folders_links_and_execute_bits_are_kept(tmp_path: Path) -> None:
    root = run(
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
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (root / "myst.yml").stat().st_mode & 0o777 == 0o644
    assert (root / "empty").is_dir()
    assert (root / "docs/link.md").read_text() == "text"
    assert (root / "folder").is_symlink()
    assert (root / "folder/ü.md").read_text() == "text"
    assert (root / ".hidden").read_bytes() == b""


@pytest.mark.parametrize("top", ["renamed-1234/", "a/", ""])
def test_the_top_folder_can_have_any_name(tmp_path: Path, top: str) -> None:
    root = run(tmp_path, (f"{top}myst.yml", b""), (f"{top}x/index.md", b""))
    assert (root / "x/index.md").is_file()


HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "absolute path": ([("/etc/passwd", b"x")], "'/etc/passwd': its path is absolute"),
    "upwards": ([("repo-main/../../x", b"x")], "its path contains '..'"),
    "upwards at the end": ([("repo-main/a/..", b"x")], "its path contains '..'"),
    "upwards with backslashes": ([("repo-main\\..\\..\\x", b"x")], "its path contains '..'"),
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
    "links that lead out together": (
        [("repo-main/d/e/f", b""), link("repo-main/deep", "d/e"), link("repo-main/out", "deep/../../../x")],
        "leads out",
    ),
    "writing through a link": (
        [link("repo-main/l", "d"), ("repo-main/d/f", b""), ("repo-main/l/x", b"x")],
        "'l' is not a folder",
    ),
    "long link": ([link("repo-main/l", "x" * 5000)], "target is too long"),
    "empty link": ([link("repo-main/l", "")], "without a usable target"),
    "file and folder": ([("repo-main/x", b""), ("repo-main/x/y", b"")], "'x' is not a folder"),
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


@pytest.mark.parametrize(("one", "other"), [("Fig.png", "fig.png"), ("A/x", "a/x"), ("u\u0308", "ü")])
def test_names_that_differ_only_by_case_or_composition_are_two_files(tmp_path: Path, one: str, other: str) -> None:
    folder = run(tmp_path, PROJECT, (f"repo-main/{one}", b"1"), (f"repo-main/{other}", b"2"))
    assert [(folder / name).read_bytes() for name in (one, other)] == [b"1", b"2"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnsafe, match="contains it twice"):
        run(tmp_path, PROJECT, PROJECT)


@pytest.mark.parametrize("used", ["../../evil.txt", "/evil.txt", "a\0b", "C:/evil.txt"])
def test_a_second_name_of_an_entry_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: str) -> None:
    rename_like_newer_python(monkeypatch)
    info = zipfile.ZipInfo("top/good.txt")
    info.extra = renaming_extra("top/good.txt", used)
    archive = zipped(tmp_path / "a.zip", (info, b"x"))
    assert [one.filename for one in zipfile.ZipFile(archive).infolist()] == [used]
    with pytest.raises(ArchiveUnsafe):
        unzip(archive, tmp_path / "to", UnzipLimits())


def test_a_harmless_second_name_is_the_one_that_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename_like_newer_python(monkeypatch)
    info = zipfile.ZipInfo("top/caf_.txt")
    info.extra = renaming_extra("top/caf_.txt", "top/café.txt")
    entries, _size = unzip(zipped(tmp_path / "a.zip", (info, b"x")), tmp_path / "to", UnzipLimits())
    assert (list(entries.files), (tmp_path / "to" / "café.txt").read_bytes()) == (["café.txt"], b"x")


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


def test_an_unsupported_compression_method_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/odd.md", b"text"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.rfind(b"PK\x01\x02") + 10, 97)
    path.write_bytes(data)
    with pytest.raises(BuildError, match=r"odd\.md"):
        unpacked(tmp_path, path)


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    [
        ([(f"repo-main/{n}", b"") for n in range(60)], ArchiveTooLarge, "more than 50 files"),
        ([("repo-main/big", b"\0" * 26_000_000)], ArchiveTooLarge, "larger than 25 MB"),
        ([(f"repo-main/{n}", b"\0" * 11_000_000) for n in range(3)], ArchiveTooLarge, "more than 30 MB"),
        ([("repo-main/bomb", b"\0" * 20_000_000)], ArchiveUnsafe, "200 times its packed size"),
    ],
    ids=["entries", "one file", "all files", "ratio"],
)
def test_an_archive_that_exceeds_a_limit_is_refused(
    tmp_path: Path, entries: list[Entry], error: type[BuildError], words: str
) -> None:
    with pytest.raises(error, match=words):
        run(tmp_path, PROJECT, *entries)


def test_an_entry_larger_than_the_archive_says_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT, ("repo-main/liar", b"\0" * 5_000_000))
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rfind(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    with pytest.raises(ArchiveBroken, match="liar"):
        unpacked(tmp_path, path)


def test_folders_that_only_names_mention_are_counted(tmp_path: Path) -> None:
    """A list of 25 MB could stand for ten million folders."""
    with pytest.raises(ArchiveTooLarge, match="more than 50 files and folders"):
        run(tmp_path, PROJECT, ("repo-main/" + "d/" * 30 + "x", b""), ("repo-main/d/" + "e/" * 30 + "x", b""))
    assert list((tmp_path / "repository").iterdir()) == []
    (tmp_path / "repository").rmdir()
    run(tmp_path, PROJECT, ("repo-main/" + "d/" * 30 + "x", b""), *((f"repo-main/d/d/{name}", b"") for name in "0123456789"))


def test_an_archive_that_lists_a_million_entries_is_refused_without_reading_its_list(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", PROJECT)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, at + 8, 0xFFF0, 0xFFF0)
    path.write_bytes(data)
    with pytest.raises(ArchiveTooLarge, match="more than 50"):
        unpacked(tmp_path, path)


@pytest.mark.parametrize("damage", [b"", b"<html>", b"PK\x03\x04" + b"x" * 100, b"PK\x05\x06" + b"\xff" * 18])
def test_a_file_that_is_not_an_archive_is_refused(tmp_path: Path, damage: bytes) -> None:
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


def test_the_check_stops_the_unpacking(tmp_path: Path) -> None:
    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        unzip(zipped(tmp_path / "a.zip", PROJECT), tmp_path / "repository", LIMITS, check=check)
    assert list((tmp_path / "repository").iterdir()) == []
