"""When Landlock alone can be used."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from builds.engine.sandbox import landlock
from builds.engine.sandbox.landlock_alone.sandbox import MIN_LANDLOCK
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy


def test_an_ordinary_user_can_use_it() -> None:
    """If the tests run as root, tests/project/test_ordinary_user.py runs this as nobody."""
    if os.geteuid() == 0 or landlock.version() < MIN_LANDLOCK:
        pytest.skip("only as an ordinary user, on Linux 6.12 or newer")
    assert choose("landlock", Policy()).problems == ()


def test_a_folder_that_root_s_builds_can_not_enter_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0 or landlock.version() < MIN_LANDLOCK:
        pytest.skip("only root's builds run as another user, and only where Landlock alone could be used")
    tmp_path.chmod(0o700)
    problem = choose("landlock", Policy(hidden=(tmp_path,))).problems[0]
    assert re.fullmatch(r"As root, builds run as another user, which with Landlock alone can't enter /\S+: .*", problem)


def test_no_build_runs_if_the_data_folder_is_inside_a_readable_one(tmp_path: Path) -> None:
    problem = choose("landlock", Policy()).problems
    found = choose("landlock", Policy(hidden=(tmp_path / "data",), readable=(tmp_path,))).problems
    assert problem or found[0].startswith(f"With landlock, builds could read {tmp_path}/data, because it is inside {tmp_path}, ")
