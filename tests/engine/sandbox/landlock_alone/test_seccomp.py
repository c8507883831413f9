"""The second seccomp filter and real programs."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

import pytest

from builds.engine.sandbox.landlock_alone import seccomp
from builds.engine.sandbox.landlock_alone.syscall_numbers import MACHINES
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.syscall_numbers import machine_name
from tests.engine.sandbox.test_sandbox import POLICY, WORKING_KINDS
from tests.engine.sandbox.test_seccomp import HEADERS, check_numbers, lines_of

NAME = machine_name()
KNOWN = MACHINES[NAME].calls if NAME in MACHINES else {}

# Prints how each call went: the error's name. "other" is the id of a process that must not be touched.
CALLS = f"""
import ctypes, errno, os, socket, sys
libc, calls, other = ctypes.CDLL(None, use_errno=True), {KNOWN}, int(sys.argv[1])
def call(name, *arguments, label=None):
    if name in calls:
        ctypes.set_errno(0)
        answer = libc.syscall(calls[name], *map(ctypes.c_long, arguments))
        print(label or name, errno.errorcode.get(ctypes.get_errno(), answer))
def attempt(label, act):
    try:
        print(label, act() or "done")
    except OSError as error:
        print(label, errno.errorcode[error.errno])
for name in {(*seccomp.FORBIDDEN, *seccomp.ABSENT, *seccomp.UNSUPPORTED)}:
    call(name, -1, -1, -1, -1, -1)
for name in {seccomp.ON_A_PROCESS}:
    call(name, other, 0, 0, 0)
    call(name, 1 << 32, 0, 0, 0, label="own " + name)
for which in (1, 2, 3):
    call("setpriority", which, 0, 5, label=f"setpriority {{which}}")
    call("ioprio_set", which, other, 0, label=f"ioprio_set {{which}}")
call("setpriority", 0, other, 5)
attempt("own setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 19))
inet, stream, datagram = socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
for send in (lambda: socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", 9)), lambda: socket.socket().sendmsg([b"x"], (), 0x20000000)):
    attempt("fast", send)
attempt("unix", lambda: socket.socket(socket.AF_UNIX) and None)
attempt("UDP", lambda: socket.socket(inet, datagram | socket.SOCK_NONBLOCK) and None)
attempt("TCP", lambda: socket.socket(inet, stream | socket.SOCK_CLOEXEC) and None)
for kind in (stream, socket.SOCK_SEQPACKET, datagram, socket.SOCK_RAW):
    attempt(f"pair {{int(kind)}}", lambda: socket.socketpair(socket.AF_UNIX, kind) and None)
a, b = socket.socketpair()
attempt("pair to another", lambda: a.connect(sys.argv[2]))
"""
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]
REFUSED = [
    *(f"{name} EPERM" for name in seccomp.FORBIDDEN if name in KNOWN),
    *(f"{name} ENOSYS" for name in seccomp.ABSENT if name in KNOWN),
    *(f"{name} {UNSUPPORTED}" for name in seccomp.UNSUPPORTED if name in KNOWN),
    *(f"{name} EPERM" for name in seccomp.ON_A_PROCESS),
    *("setpriority 1 EPERM", "ioprio_set 1 EPERM", "setpriority 2 EPERM", "ioprio_set 2 EPERM", "setpriority 3 EPERM"),
    *("ioprio_set 3 EPERM", "setpriority EPERM", "own setpriority done", *[f"fast {UNSUPPORTED}"] * 2),
    *("unix EAFNOSUPPORT", "UDP EACCES", "TCP done", "pair 1 done", "pair 5 done", "pair 2 ESOCKTNOSUPPORT"),
    *("pair 3 ESOCKTNOSUPPORT", "pair to another EACCES"),
]


@pytest.mark.skipif("landlock" not in WORKING_KINDS, reason="Landlock alone does not work here")
def test_the_second_filter_does_what_namespaces_do_under_bubblewrap(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    for folder in ("home", "tmp"):
        (workspace / folder).mkdir(parents=True)
    sandbox = choose("landlock", POLICY).sandbox(workspace, "a build")
    assert sandbox is not None
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        lines = lines_of(sandbox, f"{sys.executable} -I code {os.getpid()} {tmp_path}/s", CALLS)
    own = [line for line in lines if line.startswith("own ") and "setpriority" not in line]
    assert [line for line in lines if line not in own] == REFUSED
    assert [line for line in own if line.endswith("EPERM")] == [], "calls that name no other process"


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_the_kernel_s(name: str) -> None:
    newer = {"open_tree_attr", "fchmodat2", "setxattrat", "removexattrat", "file_setattr"}
    check_numbers(name, MACHINES[name].calls, newer=newer)
