"""The output of one build in a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from builds.engine.terminal import PrintedLog, _local
from builds.errors import ArchiveBroken, ArchiveTooLarge
from tests.support.zip_files import zipped


def test_untrusted_text_cannot_control_the_terminal() -> None:
    """Front matter and names are not cleaned like a program's output."""
    out = io.StringIO()
    PrintedLog(out).line("a\x1b[31m\x1b[2J\x1b]0;title\x07\nb\u202ec\x9b2J", stream="warning")
    assert out.getvalue() == "[warning] a [2J ]0;title b c 2J\n"


def test_a_local_archive_is_checked_before_it_is_opened(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("r/x/myst.yml", b""), ("r/myst.yml", b""))
    assert _local(path, "", 2).project_path == "myst.yml"
    with pytest.raises(ArchiveTooLarge):
        _local(path, "", 1)
    path.write_bytes(b"not a zip")
    with pytest.raises(ArchiveBroken):
        _local(path, "", 2)
