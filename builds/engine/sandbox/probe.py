"""Finds out which sandbox works on this machine: each kind is tried once, with a program that checks it from inside."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from builds.engine.sandbox import seccomp
from builds.engine.sandbox.bubblewrap import Bubblewrap
from builds.engine.sandbox.landlock_alone.sandbox import LandlockAlone
from builds.engine.sandbox.sandbox import Policy, Sandbox, SandboxKind, build_user
from builds.errors import SandboxUnavailable

# The kinds of sandbox, the best first. Each has the value of BUILD_SANDBOX that asks for it for its ``kind``.
KINDS: tuple[type[Sandbox], ...] = (Bubblewrap, LandlockAlone)
REQUIRE, UNSANDBOXED = "require", "may-build-unsandboxed"
# What a worker reports as its sandbox if it refuses every build, because no sandbox works.
REFUSED = "refused"
PROBE_SECONDS = 20

INSTALL = (
    "Install bubblewrap (apt install bubblewrap, dnf install bubblewrap; its Python package is in requirements-embedded.txt) and allow "
    "it to create user namespaces: on Ubuntu 24.04 and newer install deploy/apparmor-bwrap, in Docker use a seccomp profile that allows "
    "them. To build without any sandbox, so that every manuscript can read everything that this service can, set "
    f"BUILD_SANDBOX={UNSANDBOXED}."
)


@dataclass(frozen=True)
class Choice:
    """The sandbox of this machine. ``problems`` say why better kinds don't work, ``lacks`` what this one lacks."""

    sandbox_type: type[Sandbox] | None
    problems: tuple[str, ...] = ()
    allowed: bool = True
    lacks: tuple[str, ...] = ()
    syscall_filter: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> SandboxKind:
        return self.sandbox_type.kind if self.sandbox_type else SandboxKind.NONE

    def check(self) -> None:
        """Raise SandboxUnavailable if builds may not run."""
        if not self.allowed:
            raise SandboxUnavailable(f"No sandbox works on this machine, so no build runs. {' '.join(self.problems)}")

    def sandbox(self, workspace: Path, build_id: str, **options: Any) -> Sandbox | None:
        """The sandbox for one build; None if it runs without one."""
        if self.sandbox_type is None:
            return None
        return self.sandbox_type(workspace, uid=build_user(build_id), syscall_filter=self.syscall_filter, **options)


@cache
def choose(wanted: str, policy: Policy) -> Choice:
    """The best kind of sandbox that works here. ``wanted`` is a value of BUILD_SANDBOX."""
    problems: list[str] = []
    for sandbox_type in KINDS:
        if wanted in (REQUIRE, UNSANDBOXED, sandbox_type.kind):
            syscall_filter, lacks = seccomp.filter_for_this_machine()
            problem = _find_problem(sandbox_type, policy, syscall_filter)
            if not problem:
                return Choice(sandbox_type, tuple(problems), lacks=lacks, syscall_filter=syscall_filter)
            problems.append(problem)
    if wanted == UNSANDBOXED:
        return Choice(None, problems=tuple(problems))
    return Choice(None, problems=(*problems, INSTALL), allowed=False)


def _find_problem(sandbox_type: type[Sandbox], policy: Policy, syscall_filter: bytes) -> str:
    """Why this kind of sandbox does not work here; empty if it does."""
    if sys.platform != "linux":
        return "Builds can be sandboxed only on Linux."
    if problem := sandbox_type.find_problem(policy, syscall_filter):
        return problem
    with tempfile.TemporaryDirectory(prefix="jobsite-probe-") as folder:
        return _try(sandbox_type(Path(folder), policy, uid=build_user("probe"), syscall_filter=syscall_filter))


# The probe: is it not root, can it write in its workspace, does the seccomp filter hold, and can it not read what it should not?
PROBE = """
import ctypes, os, sys
open("inside", "w").close()
os.chmod("inside", 0o600)
assert os.getuid() != 0, "it runs as root"
if sys.argv[1] == "filtered":
    assert ctypes.CDLL(None).unshare(0x10000000) != 0, "it can make user namespaces"
for path in sys.argv[2:]:
    try:
        open(path)
    except OSError:
        continue
    sys.exit(f"it can read {path}")
"""


def _try(sandbox: Sandbox) -> str:
    """Run the probe in the sandbox; returns what is wrong, or nothing."""
    sandbox.hand_over()
    with tempfile.NamedTemporaryFile(prefix="jobsite-probe-") as secret:
        filtered = "filtered" if sandbox.syscall_filter else ""
        launch = sandbox.launch([sys.executable, "-I", "-S", "-c", PROBE, filtered, secret.name], sandbox.workspace)
        try:
            if launch.gate:
                launch.gate.open()
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
                pass_fds=launch.pass_fds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{sandbox.kind} does not work here: {error}."
        finally:
            if launch.gate:
                launch.gate.close()
            for descriptor in (*launch.pass_fds, launch.ready):
                if descriptor is not None:
                    os.close(descriptor)
    if answer.returncode == 0:
        return ""
    reason = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    return f"{sandbox.kind} does not work here: {reason[:300]}."
