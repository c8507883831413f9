"""The memory mappings of a process, which may be of files with odd names."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from builds.engine.process.mappings import read_mappings


@pytest.mark.parametrize("name", ["a b", "a\rb c", "a\x0bb", "a\x1cb", "a\u2028b", "\udcff", "a  b "])
def test_a_mapped_file_is_found_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x" * mmap.PAGESIZE)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        status = path.stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        found = [each for each in read_mappings(Path(f"/proc/self/task/{os.getpid()}")) if each.inode == status.st_ino]
    assert [(each.name, each.device) for each in found] == [(str(path), device)]


def test_a_thread_that_has_ended_has_none(tmp_path: Path) -> None:
    assert list(read_mappings(tmp_path)) == []
