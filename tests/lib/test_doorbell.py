"""The doorbell: a ring wakes a listener, and ringing never waits or fails."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from builds.lib.doorbell import Doorbell, ring

LONG = 600.0


def test_a_ring_ends_the_wait(tmp_path: Path) -> None:
    with Doorbell(tmp_path / "folder" / "bell") as bell:
        waiting = threading.Thread(target=bell.wait, args=(LONG,))
        waiting.start()
        ring(tmp_path / "folder" / "bell")
        waiting.join(LONG / 10)
        assert not waiting.is_alive()


def test_a_ring_before_the_wait_counts_once(tmp_path: Path) -> None:
    with Doorbell(tmp_path / "bell") as bell:
        for _ in range(3):
            ring(tmp_path / "bell")
        bell.wait(LONG)
        started_at = time.monotonic()
        bell.wait(0.05)
        assert time.monotonic() - started_at >= 0.04


def test_ringing_without_a_listener_does_nothing(tmp_path: Path) -> None:
    ring(tmp_path / "bell")
    with Doorbell(tmp_path / "bell"):
        pass
    ring(tmp_path / "bell")


def test_ringing_does_not_wait_for_a_listener_that_does_not_look(tmp_path: Path) -> None:
    with Doorbell(tmp_path / "bell") as bell:
        for _ in range(100_000):  # more than a pipe holds
            ring(tmp_path / "bell")
        bell.wait(LONG)


def test_an_ordinary_file_in_its_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "bell").write_text("")
    with Doorbell(tmp_path / "bell") as bell:
        ring(tmp_path / "bell")
        bell.wait(LONG)
    assert (tmp_path / "bell").stat().st_mode & 0o777 == 0o600


def test_ringing_writes_to_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "bell").symlink_to(tmp_path / "precious")
    for name in ("bell", "precious"):
        ring(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "precious"


def test_where_no_pipe_can_be_made_it_waits_for_its_whole_time(tmp_path: Path) -> None:
    (tmp_path / "bell").mkdir()
    with Doorbell(tmp_path / "bell") as bell:
        bell.wait(0.01)
