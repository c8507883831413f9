"""What is known of an archive before a library reads its list of entries."""

from __future__ import annotations

import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builds.lib import zips


def archive(path: Path, *, entries: int = 3) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for number in range(entries):
            zipped.writestr(f"{number}", "x")
    return path


def with_64bit_records(data: bytes, *records: tuple[int, int]) -> bytes:
    """``data`` with 64-bit records of (entries, bytes) before its end. The locator points to the first."""
    at = data.rindex(b"PK\x05\x06")
    packed = [zips.END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, 0) for entries, size in records]
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    return data[:at] + b"".join(packed) + locator + data[at:]


def listed(entries: int, *, name: int = 5, extra: bytes = b"") -> bytes:
    """A list of ``entries`` of the same kind, with names of ``name`` bytes."""
    fields = (20, 20, 0, 0, 0, 0, 0, 0, 0, name, len(extra), 0, 0, 0, 0, 0)
    head = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields)
    return b"".join(head + f"{number:05}".encode().ljust(name, b"\xe9") + extra for number in range(entries))


def list_of(path: Path, entries: int, *, name: int = 5, extra: bytes = b"", claimed: int | None = None) -> Path:
    """An archive that has only a list. It claims that its entries are ``claimed``."""
    return with_list(path, listed(entries, name=name, extra=extra), min(entries if claimed is None else claimed, 0xFFFE))


def with_list(path: Path, data: bytes, claimed: int) -> Path:
    path.write_bytes(data + zips.END.pack(b"PK\x05\x06", 0, 0, claimed, claimed, len(data), 0, 0))
    return path


def opens(path: Path, max_entries: int) -> int:
    with zips.opened(path, max_entries) as opened:
        return len(opened.infolist())


def test_a_plain_archive_is_opened(tmp_path: Path) -> None:
    path = archive(tmp_path / "a")
    assert zips.read_end(path).entries == 3
    assert opens(path, 3) == 3
    with pytest.raises(zips.TooManyEntries):
        opens(path, 2)


@pytest.mark.parametrize("larger", [0, 1])
def test_of_two_64bit_records_the_larger_counts(tmp_path: Path, larger: int) -> None:
    """Readers differ in which one they use: the first, which the locator points to, or the last."""
    path = archive(tmp_path / "a")
    records = [(1, 50), (1, 50)]
    records[larger] = (100_000, 5_000_000)
    path.write_bytes(with_64bit_records(path.read_bytes(), *records))
    end = zips.read_end(path)
    assert (end.entries, end.list_bytes) == (100_000, 5_000_000)


def test_placeholders_for_a_64bit_record_are_not_taken_as_numbers(tmp_path: Path) -> None:
    path = archive(tmp_path / "a")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x05\x06")
    data[at + 8 : at + 16] = b"\xff" * 8
    path.write_bytes(with_64bit_records(bytes(data), (3, 150)))
    end = zips.read_end(path)
    assert (end.entries, end.list_bytes) == (3, 150)


@pytest.mark.parametrize("claimed", [3, 65_534])
def test_listed_entries_are_counted_whatever_the_archive_claims(tmp_path: Path, claimed: int) -> None:
    """Readers read to the end of the list, whatever number the archive claims."""
    path = list_of(tmp_path / "a", 2000, claimed=claimed)
    assert len(zipfile.ZipFile(path).infolist()) == 2000
    with pytest.raises(zips.TooManyEntries):
        zips.check_list(path, 1999)


def test_a_list_is_found_where_a_64bit_record_is_that_the_locator_points_to(tmp_path: Path) -> None:
    """Newer readers look for the list before that record, wherever it is."""
    data = list_of(tmp_path / "a", 2000, claimed=3).read_bytes()
    at = data.rindex(b"PK\x05\x06")
    record = zips.END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, at, 0)
    locator = zips.LOCATOR.pack(b"PK\x06\x07", 0, at, 1)
    (tmp_path / "b").write_bytes(data[:at] + record + b"\0" * 1_000_000 + locator + data[at:])
    with pytest.raises(zips.TooManyEntries):
        zips.check_list(tmp_path / "b", 1999)
    zips.check_list(tmp_path / "b", 2000)


@pytest.mark.parametrize(
    ("entries", "name", "extra"),
    [(1, 5, zips.MAX_EXTRA_BYTES + 4), (1000, 5, 0xFFFC), (100, 0xFFFF, 0)],
    ids=["one long extra field", "long extra fields", "long names"],
)
def test_an_entry_with_more_than_a_program_writes_is_refused(tmp_path: Path, entries: int, name: int, extra: int) -> None:
    path = list_of(tmp_path / "a", entries, name=name, extra=struct.pack("<HH", 0x9999, 0) * (extra // 4))
    with pytest.raises((zips.NotAnArchive, zips.TooManyEntries)):
        opens(path, 20_000)


@pytest.mark.parametrize("at", range(zips.CHUNK - 60, zips.CHUNK + 10, 7))
def test_a_long_extra_field_is_seen_wherever_its_entry_begins(tmp_path: Path, at: int) -> None:
    count, left = divmod(at, 1000)
    data = listed(count - 1, name=1000 - 46) + listed(1, name=1000 + left - 46)
    assert len(data) == at
    path = with_list(tmp_path / "a", data + listed(1, extra=b"\0" * 4000), count + 1)
    assert len(zipfile.ZipFile(path).infolist()) == count + 1
    with pytest.raises(zips.NotAnArchive, match="4,000 bytes of extra fields"):
        zips.check_list(path, 20_000)


def test_the_largest_list_that_is_opened_takes_little_memory(tmp_path: Path) -> None:
    entries = 20_000
    path = list_of(tmp_path / "a", entries, name=zips.MAX_LISTED_BYTES - 46 - 4, extra=struct.pack("<HH", 0x9999, 0))
    tracemalloc.start()
    try:
        assert opens(path, entries) == entries
        assert tracemalloc.get_traced_memory()[1] < entries * 2000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x09", 1),
        lambda data: data[:-22] + data[-22:].replace(b"\x03\x00", b"\xff\xff"),
    ],
    ids=["no entry", "no 64-bit record"],
)
def test_a_damaged_list_is_reported(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / "a")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((zips.NotAnArchive, zips.TooManyEntries)):
        opens(path, 100)


def test_folder_order_is_depth_first(tmp_path: Path) -> None:
    names = ["a/b", "a-b", "a/b/c", "a", "é", "a/é", "b"]
    infos = [zipfile.ZipInfo(name) for name in names]
    assert [info.filename for info in sorted(infos, key=zips.folder_order)] == ["a", "a/b", "a/b/c", "a/é", "a-b", "b", "é"]
