"""The hostile cases without a sandbox, on a throwaway machine, where they do succeed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.conftest import BASE_DIR
from tests.hostile.case import Case, Control, script, stolen
from tests.hostile.corpus import CASES

UNSHARE = ("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private")
IS_ROOT = os.geteuid() == 0
CONTROLLED = [case for case in CASES if case.control]
SECONDS = 150


def run_apart(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``command`` as root of its own namespaces."""
    user = () if IS_ROOT else ("--user", "--map-root-user")
    return subprocess.run(
        [*UNSHARE, *user, *command],
        cwd=BASE_DIR,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


@cache
def can_make_machines() -> bool:
    try:
        return run_apart("sh", "-c", "mount -t tmpfs machine /mnt").returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("case", CONTROLLED, ids=[case.name for case in CONTROLLED])
def test_without_the_sandbox_it_succeeds(case: Case, tmp_path: Path) -> None:
    assert case.control
    if not can_make_machines():
        pytest.skip("unshare can't make namespaces here")
    if case.control.as_root and not IS_ROOT:
        pytest.skip("only root can do this without a sandbox")
    answer = run_apart(sys.executable, "-m", "tests.hostile.outside", case.name, str(tmp_path))
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = answer.stdout.decode(errors="replace")
    assert [words for words in case.control.finds if words not in found] == [], found[-3000:]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_says_what_it_tries_and_how_the_tests_show_it(case: Case) -> None:
    assert case.tries
    assert case.is_shown


def test_a_case_that_would_pass_if_it_did_nothing_is_noticed() -> None:
    assert not Case("idle", script("true"), tries="Nothing.").is_shown
    assert Case("idle", script("true"), tries="Nothing.", control=Control(("REACHED it",))).is_shown


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_stolen_content_is_recognised() -> None:
    taken = "REACHED it\nSQLite format 3\0 root:$6$a:1\nINTERNAL_SERVICE_SECRET=abc\nuid=0(root) MIDDLEWARE = [ a note"
    assert stolen(taken, ["a note", "another"]) == [
        "REACHED it",
        "SQLite format 3",
        "root:$6$a:1",
        "INTERNAL_SERVICE_SECRET=abc",
        "uid=0(",
        "MIDDLEWARE = [",
        "a note",
    ]
    assert stolen("build:x:1000:1000 uid=1000(build)", ["a note"]) == []
