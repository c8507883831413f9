"""Archives that are kept for later attempts: never too many, never half of one, never another repository's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from builds.engine.clients.archive import Downloaded
from builds.engine.clients.kept_archives import MAX_AGE_SECONDS, KeptArchives

COMMITS = [letter * 40 for letter in "abcdef"]
# Of b"x" * 100.
SHA256 = "09ecb6ebc8bcefc733f6f2ec44f791abeed6a99edf0cc31519637898aebd52d8"
DOWNLOADED = Downloaded(SHA256, '"etag"')


@pytest.fixture
def archives(tmp_path: Path) -> KeptArchives:
    return KeptArchives(tmp_path / "archives", "https://example.org", max_bytes=350)


def keep(archives: KeptArchives, tmp_path: Path, commit: str, *, repository: str = "o/r", size: int = 100) -> None:
    path = tmp_path / "new.zip"
    path.unlink(missing_ok=True)
    path.write_bytes(b"x" * size)
    archives.keep(repository, commit, path, DOWNLOADED)


def kept(archives: KeptArchives) -> list[str]:
    return [commit[0] for commit in COMMITS if archives.find("o/r", commit)]


def test_a_kept_archive_is_what_was_downloaded(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    found = archives.find("O/R", COMMITS[0])
    assert found
    assert (found.downloaded, found.copy_to(tmp_path / "copy.zip")) == (DOWNLOADED, True)
    assert (tmp_path / "copy.zip").read_bytes() == b"x" * 100


def test_another_repository_host_or_commit_has_none_of_it(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    assert archives.find("o/other", COMMITS[0]) is None
    assert archives.find("o/r", COMMITS[1]) is None
    assert KeptArchives(archives.folder, "https://example.net", 350).find("o/r", COMMITS[0]) is None


@pytest.mark.parametrize("commit", ["", "main", "../../x", COMMITS[0][:39]])
def test_only_commits_are_kept(archives: KeptArchives, tmp_path: Path, commit: str) -> None:
    keep(archives, tmp_path, commit)
    assert archives.find("o/r", commit) is None
    assert not list(archives.folder.rglob("*"))


@pytest.mark.parametrize("content", [b"x" * 99, b"x" * 99 + b"y", b""])
def test_a_damaged_archive_is_not_used(archives: KeptArchives, tmp_path: Path, content: bytes) -> None:
    keep(archives, tmp_path, COMMITS[0])
    found = archives.find("o/r", COMMITS[0])
    assert found
    found.path.write_bytes(content)
    assert not found.copy_to(tmp_path / "copy.zip")
    assert not (tmp_path / "copy.zip").exists()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"sha256": "0"}', '{"sha256": "0", "etag": "", "more": 1}'])
def test_an_archive_with_a_broken_note_is_not_used(archives: KeptArchives, tmp_path: Path, note: str) -> None:
    keep(archives, tmp_path, COMMITS[0])
    [path] = archives.folder.glob("*/*.json")
    path.write_text(note)
    assert archives.find("o/r", COMMITS[0]) is None


def test_those_that_were_not_used_for_longest_go_first(archives: KeptArchives, tmp_path: Path) -> None:
    for number, commit in enumerate(COMMITS[:3]):
        keep(archives, tmp_path, commit)
        used = time.time() - 100 + number
        os.utime(archives.folder / next(archives.folder.iterdir()).name / f"{commit}.json", (used, used))
    assert archives.find("o/r", COMMITS[0])  # which makes it the newest
    keep(archives, tmp_path, COMMITS[3])
    assert kept(archives) == ["a", "c", "d"]


def test_what_is_larger_than_all_together_is_not_kept_and_removes_nothing(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    keep(archives, tmp_path, COMMITS[1], size=351)
    assert kept(archives) == ["a"]


def test_an_old_archive_is_not_used_and_goes(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    [path] = archives.folder.glob("*/*.zip")
    long_ago = time.time() - MAX_AGE_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    left = path.with_name("left.zip.123")
    left.write_text("of a process that was killed")
    os.utime(left, (long_ago, long_ago))
    assert kept(archives) == []
    archives.sweep()
    assert not list(archives.folder.glob("*/*"))


def test_all_go_when_the_disk_is_nearly_full(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    KeptArchives(archives.folder, archives.host, 350, min_free=1 << 60).sweep()
    assert kept(archives) == []


def test_a_repository_is_forgotten(archives: KeptArchives, tmp_path: Path) -> None:
    keep(archives, tmp_path, COMMITS[0])
    keep(archives, tmp_path, COMMITS[1], repository="o/other")
    archives.forget("O/R")
    assert kept(archives) == []
    assert archives.find("o/other", COMMITS[1])


def test_without_room_on_the_disk_nothing_is_kept(archives: KeptArchives, tmp_path: Path) -> None:
    archives.folder.write_text("a file in place of the folder")
    keep(archives, tmp_path, COMMITS[0])
    assert archives.find("o/r", COMMITS[0]) is None
