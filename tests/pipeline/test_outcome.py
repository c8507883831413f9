"""Whose fault an error of the operating system is, and one of nested input."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from builds.errors import ArchiveHostDown, SandboxUnavailable
from builds.lib import release
from builds.models import clock
from builds.pipeline.outcome import cause_of, excuse
from tests.support import made
from tests.support.stage_context import make_context


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [
        (errno.ENAMETOOLONG, "repository/a", "build-failed"),
        (errno.ELOOP, "repository/a", "build-failed"),
        (errno.EACCES, "repository/a", "build-failed"),
        (errno.ENOENT, "home/x", "build-failed"),
        (errno.ENOENT, "../elsewhere", "system-error"),
        (errno.ENOENT, ".", "system-error"),
        (errno.EIO, "repository/a", "system-error"),
        (errno.EMFILE, "repository/a", "system-error"),
        (errno.ENOSPC, "repository/a", "disk-full"),
    ],
)
def test_what_a_build_did_to_its_own_files_is_the_manuscripts(tmp_path: Path, number: int, name: str, code: str) -> None:
    context = make_context(tmp_path)
    error = OSError(number, os.strerror(number), str(context.workspace / name))
    assert cause_of(error, context).code == code


def test_a_workspace_that_was_removed_is_the_services_fault(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    context.workspace.rmdir()
    error = FileNotFoundError(errno.ENOENT, "x", str(context.workspace / "a"))
    assert cause_of(error, context).code == "system-error"


def test_nested_input_is_the_manuscripts_and_a_bug_is_ours(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    assert cause_of(RecursionError(), context).code == "limit-hit"
    assert cause_of(KeyError("x"), context).code == "internal-error"


@pytest.mark.django_db
def test_a_failure_while_another_release_was_installed_is_retried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    build, broken, away = made.running(), SandboxUnavailable("KeyError: 'no_ports'").cause, ArchiveHostDown().cause
    assert excuse(build, broken) == (broken, None)
    monkeypatch.setattr(release, "has_changed", lambda: True)
    cause, retry_at = excuse(build, broken)
    assert (cause.code, cause.fault) == ("release-replaced", "service")
    assert retry_at is not None
    assert retry_at <= clock.now()
    assert excuse(build, away)[0] == away, "it is retried anyway, for its own reason"
