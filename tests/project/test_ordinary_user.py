"""The sandbox of a service that runs as an ordinary user. If the tests run as root, these do so in a process that runs as nobody."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nobody import as_nobody, folder_of_nobody

pytestmark = pytest.mark.slow

REPORT = """
from builds.engine.sandbox.sandbox import Policy
from builds.engine.sandbox.probe import choose
print(choose("bubblewrap", Policy()).problems[:1] or "bubblewrap")
"""
# The proxy does not depend on the user.
TESTS = ["tests/engine/sandbox", "--ignore", "tests/engine/sandbox/test_proxy.py"]


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_nobody() as made:
        yield made


@pytest.fixture
def possible(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    if as_nobody(folder, "true").returncode:
        pytest.skip("unshare, mount and setpriv can't be used here")


@pytest.mark.usefixtures("possible")
def test_an_ordinary_user_can_use_bubblewrap(folder: Path) -> None:
    answer = as_nobody(folder, sys.executable, "-c", REPORT)
    assert answer.stderr == ""
    assert answer.stdout.splitlines()[:1] == ["bubblewrap"]


@pytest.mark.usefixtures("possible")
def test_the_sandbox_holds_for_an_ordinary_user(folder: Path) -> None:
    # Slow tests, and tests whose result does not depend on the user, are not repeated.
    left_out = [
        "memory_of_many",
        "disk",
        "hidden_files",
        "limit_on_files",
        "exceed_its_limit",
        "missing",
        "a_sandbox_",
        "numbers",
    ]
    others = f"not ({' or '.join([*left_out, 'kernel', 'unknown'])})"
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "tests"), "-k", others]
    answer = as_nobody(folder, sys.executable, "-m", "pytest", *options, *TESTS)
    assert answer.returncode == 0, answer.stdout[-5000:]
