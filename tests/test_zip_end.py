"""How much an archive says that it lists, before anything reads the list."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from builds import zip_end


def archive(path: Path, *, entries: int = 3) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for number in range(entries):
            zipped.writestr(f"{number}", "x")
    return path


def long(data: bytes, *records: tuple[int, int]) -> bytes:
    """``data`` with longer records of (entries, bytes) before its end, of which the locator names the first."""
    at = data.rindex(b"PK\x05\x06")
    packed = [zip_end.END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, 0) for entries, size in records]
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return data[:at] + b"".join(packed) + locator + data[at:]


def test_a_plain_archive(tmp_path: Path) -> None:
    assert zip_end.read(archive(tmp_path / "a")).entries == 3


@pytest.mark.parametrize("larger", [0, 1])
def test_of_two_longer_records_the_larger_counts(tmp_path: Path, larger: int) -> None:
    """Readers differ in which of them they believe: the first, which is located, or the last."""
    path = archive(tmp_path / "a")
    records = [(1, 50), (1, 50)]
    records[larger] = (100_000, 5_000_000)
    path.write_bytes(long(path.read_bytes(), *records))
    end = zip_end.read(path)
    assert (end.entries, end.list_bytes) == (100_000, 5_000_000)


def test_the_numbers_that_stand_for_a_longer_record_are_none(tmp_path: Path) -> None:
    path = archive(tmp_path / "a")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x05\x06")
    data[at + 8 : at + 16] = b"\xff" * 8
    path.write_bytes(long(bytes(data), (3, 150)))
    end = zip_end.read(path)
    assert (end.entries, end.list_bytes) == (3, 150)


def test_what_is_listed_is_counted(tmp_path: Path) -> None:
    """Readers go on to the end of the list, whatever the number that stands there."""
    path = archive(tmp_path / "a", entries=70_000)
    data = path.read_bytes()
    at = data.rindex(b"PK\x05\x06")
    path.write_bytes(data[: at - 76] + data[at : at + 8] + struct.pack("<2H", 3, 3) + data[at + 12 :])
    assert len(zipfile.ZipFile(path).infolist()) == 70_000
    assert zip_end.read(path).entries == 70_000


def test_a_list_without_end_is_taken_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_end, "MOST_COUNTED", 1000)
    assert zip_end.read(archive(tmp_path / "a", entries=100)).entries == (100 * 47 + 90 + 76) // 46


def test_the_order_is_that_of_folders(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "a/b/c", "a", "é", "a/é", "b"]
    infos = [zipfile.ZipInfo(name) for name in names]
    assert [info.filename for info in sorted(infos, key=zip_end.order)] == ["a", "a/b", "a/b/c", "a/é", "a-b", "b", "é"]
