"""Takes a fork of fork_server.py into a sandbox that bubblewrap has made, and confines it as enter.py confines a program of a build.
Nothing of the manuscript has been read before.

Bubblewrap has started a shell in the sandbox that waits for an exit code. The fork joins the shell's namespaces. A child of it, which is
the first process inside, does the work. The shell ends with the child's exit code.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

import enter  # type: ignore[import-not-found]  # beside this program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

NS_GET_USERNS = 0xB701
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAP_AMBIENT = 1, 4, 22, 47
SECCOMP_MODE_FILTER, CAP_AMBIENT_CLEAR_ALL, CAPABILITY_VERSION = 2, 4, 0x20080522
# Without a namespace of its own for each of these it would be outside.
NEEDED = ("mnt", "pid", "net", "ipc")
# What must be true of the process in its /proc/self/status before it reads anything.
CONFINED = {"CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1}
LIBC = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


class NotConfined(Exception):
    """The process has a right that no program of a build may have."""


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, also if it has ended since the fork."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def step(inside: dict[str, Any], descriptors: list[int]) -> None:
    """Go inside. Returns only in the child that is there.

    ``inside`` has ``groups`` (files of control groups to add this process to), ``namespaces`` (their names, in the order of the
    descriptors), ``filter`` (for seccomp, empty for none), ``marker`` (the environment), and ``plan``, as in enter.py. ``descriptors`` are
    where to report the start, where to write the exit code, and the namespaces.
    """
    ready, code, *namespaces = descriptors
    os.umask(0o077)
    for path in inside["groups"]:
        Path(path).write_text("0")  # this process
    _join(dict(zip(inside["namespaces"], namespaces, strict=True)))
    for descriptor in namespaces:
        os.close(descriptor)
    pid = os.fork()
    if pid:
        os.close(ready)
        _wait_for(pid, code)
    os.close(code)
    os.environ.clear()
    os.environ.update(inside["environment"])
    _confine({**inside["plan"], "ready": ready}, inside["filter"])


def _join(namespaces: dict[str, int]) -> None:
    """Join these namespaces, those last that take away the right to join others."""
    if same := [name for name in NEEDED if not _is_other(name, namespaces[name])]:
        raise NotConfined(f"there is no other namespace for {', '.join(same)}")
    owner = _owner_of(namespaces["mnt"])
    if _is_other("user", owner):
        _setns(owner)
    for name, descriptor in namespaces.items():
        if name != "user" and _is_other(name, descriptor):
            _setns(descriptor)
    if not os.path.sameopenfile(namespaces["user"], owner) and _is_other("user", namespaces["user"]):
        _setns(namespaces["user"])
    os.close(owner)


def _owner_of(namespace: int) -> int:
    """A descriptor of the user namespace that a namespace belongs to."""
    return fcntl.ioctl(namespace, NS_GET_USERNS)


def _is_other(name: str, descriptor: int) -> bool:
    return OWN[name] != os.fstat(descriptor).st_ino


def _own_namespaces() -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in Path("/proc/self/ns").iterdir()}


# Asked before anything is joined: in the mount namespace of the sandbox, /proc is another one.
OWN = _own_namespaces()


def _setns(descriptor: int) -> None:
    _check(LIBC.setns(descriptor, 0))


def _wait_for(pid: int, code: int) -> NoReturn:
    """Pass the exit code of the child on to the shell inside, and end with it too."""
    _pid, status = os.waitpid(pid, 0)
    ended = os.waitstatus_to_exitcode(status)
    shown = ended if ended >= 0 else 128 - ended
    os.write(code, f"{shown}\n".encode())
    os._exit(shown)


def _confine(plan: dict[str, Any], syscall_filter: bytes) -> None:
    os.setsid()
    enter.prepare(plan)
    _drop_capabilities()
    if syscall_filter:
        program = Filter(len(syscall_filter) // 8, syscall_filter)
        _check(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0))
    if plan.get("landlock"):
        enter.apply_landlock(plan["landlock"])
    # Changing the user has given its files in /proc to root. After an exec they are its own.
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    _check_confined(bool(syscall_filter))
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.write(plan["ready"], b"R")
    os.close(plan["ready"])


def _drop_capabilities() -> None:
    """Drop all of them: a process that joins a user namespace of its own user has every capability in it."""
    for capability in range(enter.LAST_CAPABILITY + 1):
        LIBC.prctl(enter.PR_CAPBSET_DROP, capability, 0, 0, 0)
    LIBC.prctl(PR_CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(LIBC.capset(header, none))


def _check_confined(has_filter: bool) -> None:
    """Raise an error rather than read a manuscript with a right that was not dropped."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    wanted = {**CONFINED, **({"Seccomp": 2} if has_filter else {})}
    for name, value in wanted.items():
        if int(lines[name].strip(), 16) != value:
            raise NotConfined(f"{name} is {lines[name].strip()}, not {value}")
    if 0 in {int(number) for number in lines["Uid"].split()}:
        raise NotConfined("the user is root")


def _check(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
