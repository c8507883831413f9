"""What one manuscript prints in a terminal."""

from __future__ import annotations

import io

from builds.terminal import PrintedLog


def test_no_word_of_a_stranger_s_is_obeyed() -> None:
    """Front matter and names do not come through what cleans a program's output."""
    out = io.StringIO()
    PrintedLog(out).warning("a\x1b[31m\x1b[2J\x1b]0;title\x07\nb\u202ec\x9b2J")
    assert out.getvalue() == "[warning] a [2J ]0;title b c 2J\n"
