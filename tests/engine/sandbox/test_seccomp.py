"""The seccomp filter and real programs in the real sandbox."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builds.engine.myst import toolchain
from builds.engine.sandbox import seccomp
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Sandbox, SandboxKind
from builds.engine.sandbox.syscall_numbers import MACHINES, machine_name
from tests.engine.sandbox.test_sandbox import POLICY, WORKING_KINDS, start

NAME = machine_name()
pytestmark = [
    pytest.mark.skipif(not WORKING_KINDS, reason="no sandbox works on this machine"),
    pytest.mark.skipif(bool(seccomp.find_problem()), reason=f"no seccomp filter here: {seccomp.find_problem()}"),
]
KNOWN = MACHINES[NAME].calls if NAME in MACHINES else {}
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}

# Prints how each call went: the error's name. Calls that get through have harmless arguments.
CALLS = f"""
import ctypes, errno, os, signal, socket
libc, calls = ctypes.CDLL(None, use_errno=True), {KNOWN}
def call(name, *arguments, label=None):
    ctypes.set_errno(0)
    answer = libc.syscall(calls[name], *map(ctypes.c_long, arguments))
    if name == "clone" and answer == 0:
        os._exit(0)
    print(label or name, errno.errorcode.get(ctypes.get_errno(), answer))
call("unshare", 0x10000000)
call("unshare", 0x7E020000 | 0x10000000, label="unshare all")
call("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
call("clone3", 0, 0)
call("setns", -1, 0)
for high in (0, 1 << 32):
    call("ioctl", -1, 0x5412 | high, label="TIOCSTI")
    call("ioctl", -1, 0x541C | high, label="TIOCLINUX")
    call("fcntl", -1, 1024 | high, 1, label="F_SETLEASE")
for name in {seccomp.FORBIDDEN[1:]}:
    call(name, -1, -1, -1, -1, -1)
for name in {seccomp.ABSENT[1:]}:
    call(name, -1, -1, -1, -1, -1)
for label, numbers in dict(VSOCK=(40, 1, 0), ALG=(38, 5, 0), PACKET=(17, 3, 0), MPTCP=(2, 1, 262), SCTP=(2, 1, 132)).items():
    try:
        socket.socket(*numbers)
        print(label, "made")
    except OSError as error:
        print(label, errno.errorcode[error.errno])
"""
REFUSED = [
    *("unshare EPERM", "unshare all EPERM", "clone EPERM", "clone3 ENOSYS", "setns EPERM"),
    *("TIOCSTI EPERM", "TIOCLINUX EPERM", "F_SETLEASE EPERM") * 2,
    *(f"{name} EPERM" for name in seccomp.FORBIDDEN[1:]),
    *(f"{name} ENOSYS" for name in seccomp.ABSENT[1:]),
    *(f"{name} EAFNOSUPPORT" for name in ("VSOCK", "ALG", "PACKET")),
    *(f"{name} EPROTONOSUPPORT" for name in ("MPTCP", "SCTP")),
]

THREADS = """
import multiprocessing, os, socket, subprocess, sys, threading
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
process = multiprocessing.get_context("fork").Process(target=print, args=("process",)); process.start(); process.join()
print(subprocess.run(["/bin/echo", "program"], capture_output=True, text=True).stdout.strip())
pid = os.fork() or os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
for family in (socket.AF_INET, socket.AF_INET6): socket.socket(family).close()
socket.socketpair(); socket.if_nameindex()
"""
NODE = """
const {Worker} = require("worker_threads"), {execFile} = require("child_process"), fs = require("fs"), os = require("os");
new Worker("require('worker_threads').parentPort.postMessage(41 + 1)", {eval: true}).on("message", console.log);
execFile("/bin/echo", ["program"], (error, out) => console.log(error || out.trim()));
fs.promises.readFile("/dev/null").then((data) => console.log(data.length)); os.networkInterfaces();
"""
# System calls through other interfaces: as a 32-bit program's (getpid), and as x32's.
OTHER_INTERFACE = """
import ctypes, errno, mmap, sys
if sys.argv[1] == "x32":
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (272, 56, 39):
        libc.syscall(number | 0x40000000, 0x10000000)
        print(errno.errorcode.get(ctypes.get_errno()))
else:
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes.fromhex("b814000000cd80c3"))
    print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))() > 0)
"""

In = Callable[..., list[str]]


@pytest.fixture(params=WORKING_KINDS or ["none"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    workspace = tmp_path / "workspace"
    for folder in ("home", "tmp"):
        (workspace / folder).mkdir(parents=True)
    made = choose(request.param, POLICY).sandbox(workspace, "a build")
    assert made is not None
    return made


def lines_of(sandbox: Sandbox, script: str, code: str = "") -> list[str]:
    """What the shell ``script`` prints, with ``code`` in the workspace's file ``code``."""
    (sandbox.workspace / "code").write_text(code)
    environment = toolchain.environment(sandbox.workspace, extra={}, network=False)
    return start(sandbox, ["/bin/sh", "-c", script], env=environment)[1]


def test_calls_that_builds_do_not_need_are_refused(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code", CALLS) == REFUSED


def test_without_the_filter_the_calls_are_not_refused(sandbox: Sandbox) -> None:
    lines = lines_of(replace(sandbox, syscall_filter=b""), f"{sys.executable} -I code", CALLS)
    assert [line for line in lines if line.split()[0] in ("setns", "clone3", "TIOCSTI", "keyctl")] == [
        *("clone3 EINVAL", "setns EBADF", "TIOCSTI EBADF", "TIOCSTI EBADF", f"keyctl {errno.errorcode[errno.EOPNOTSUPP]}"),
    ]
    if sandbox.uid is not None:
        assert lines[0] == "unshare 0", "as root, only the filter refuses user namespaces"


def test_every_process_inside_is_under_the_filter(sandbox: Sandbox) -> None:
    """A build's programs can trace other processes of their user, and would get around the filter through one without it. With
    Landlock alone they can't trace any."""
    lines = lines_of(sandbox, "cat /proc/1/status /proc/self/status 2> /dev/null | grep -w Seccomp:")
    assert lines == (["Seccomp:\t2"] * 2 if sandbox.kind == SandboxKind.BUBBLEWRAP else [])


def test_python_can_start_threads_and_processes(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code", THREADS) == ["thread", "process", "program", "7"]


def test_node_can_start_threads_and_processes(sandbox: Sandbox) -> None:
    if not shutil.which("node", path=toolchain.environment(Path(), extra={}, network=False)["PATH"]):
        pytest.skip("node is not installed")
    assert sorted(lines_of(sandbox, "node code", NODE)) == ["0", "42", "program"]


def test_git_works(sandbox: Sandbox) -> None:
    if not shutil.which("git", path=toolchain.SYSTEM_PATH):
        pytest.skip("git is not installed")
    author = "-c user.name=a -c user.email=a@b.c"
    script = (
        f"git init -q r && cd r && echo x > a && git add a && git {author} commit -qm one && git gc -q && git log --format=%s"
    )
    assert lines_of(sandbox, script)[-1] == "one"


@pytest.mark.skipif(NAME != "x86_64", reason="only x86_64 has 32-bit and x32 calls")
def test_other_interfaces_to_the_same_calls_are_closed(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code x32", OTHER_INTERFACE) == ["ENOSYS"] * 3
    lines = lines_of(sandbox, f"{sys.executable} -I code 32-bit; echo $?", OTHER_INTERFACE)
    assert (lines[-1], "True" in lines) == (str(128 + 31), False)


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_the_kernel_s(name: str) -> None:
    check_numbers(name, MACHINES[name].calls, newer={"open_tree_attr"})


def check_numbers(name: str, calls: dict[str, int], *, newer: set[str]) -> None:
    """Compare with the kernel's headers. The ``newer`` calls may be missing there."""
    headers = Path(HEADERS[name])
    if not headers.exists():
        pytest.skip(f"{headers} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", headers.read_text()))
    assert {call: str(number) for call, number in calls.items() if call in known} == {
        call: known[call] for call in calls if call in known
    }
    assert set(calls) - set(known) <= newer


# Simulates a kernel without filters: prctl answers EINVAL to an attempt to set one.
WITHOUT = f"""
import ctypes
from builds.engine.sandbox import seccomp
from builds.engine.sandbox.bpf import LOAD, EQUAL, RETURN, ALLOW, REFUSE, Step, assemble
steps = [
    Step(LOAD, 0), Step(EQUAL, {157 if NAME == "x86_64" else 167}, "prctl", "other"),
    "prctl", Step(LOAD, 16), Step(EQUAL, 22, "refused"), "other", Step(RETURN, ALLOW), "refused", Step(RETURN, REFUSE | {errno.EINVAL}),
]
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))
libc, program = ctypes.CDLL(None), assemble(steps)
assert seccomp.find_problem() == ""
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0
import django
django.setup()
from builds.pipeline import isolation
print(isolation.notices())
"""


@pytest.mark.slow
def test_a_kernel_without_filters_is_reported(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "BUILD_SANDBOX": WORKING_KINDS[0],
        "BUILD_CGROUPS": "no",
    }
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "builds can make any system call, also to create user namespaces: the kernel has no seccomp filters." in answer.stdout


def test_an_unknown_architecture_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert seccomp.find_problem() == "Jobsite does not know the system calls of riscv64."
