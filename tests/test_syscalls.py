"""The filter for system calls, as real programs in the real sandbox meet it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builds import syscalls, toolchain
from builds.sandbox import Mode, Sandbox
from builds.sandbox_choice import choose
from tests.test_sandbox import MODES, POLICY, start

NAME = syscalls.machine_name()
pytestmark = [
    pytest.mark.skipif(not MODES, reason="neither bubblewrap nor Landlock can shut anything in here"),
    pytest.mark.skipif(bool(syscalls.problem()), reason=f"no filter for system calls here: {syscalls.problem()}"),
]
KNOWN = syscalls.MACHINES[NAME].calls if NAME in syscalls.MACHINES else {}
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}

# Tells how each call went: the error's name. Those that get through have such arguments as do no harm.
CALLS = f"""
import ctypes, errno, os, signal, socket
libc, calls = ctypes.CDLL(None, use_errno=True), {KNOWN}
def call(name, *arguments, told=None):
    ctypes.set_errno(0)
    answer = libc.syscall(calls[name], *map(ctypes.c_long, arguments))
    if name == "clone" and answer == 0:
        os._exit(0)
    print(told or name, errno.errorcode.get(ctypes.get_errno(), answer))
call("unshare", 0x10000000)
call("unshare", 0x7E020000 | 0x10000000, told="unshare all")
call("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
call("clone3", 0, 0)
call("setns", -1, 0)
for high in (0, 1 << 32):
    call("ioctl", -1, 0x5412 | high, told="TIOCSTI")
    call("ioctl", -1, 0x541C | high, told="TIOCLINUX")
    call("fcntl", -1, 1024 | high, 1, told="F_SETLEASE")
for name in {syscalls.FORBIDDEN[1:]}:
    call(name, -1, -1, -1, -1, -1)
for name in {syscalls.ABSENT[1:]}:
    call(name, -1, -1, -1, -1, -1)
for told, numbers in dict(VSOCK=(40, 1, 0), ALG=(38, 5, 0), PACKET=(17, 3, 0), MPTCP=(2, 1, 262), SCTP=(2, 1, 132)).items():
    try:
        socket.socket(*numbers)
        print(told, "made")
    except OSError as error:
        print(told, errno.errorcode[error.errno])
"""
REFUSED = [
    *("unshare EPERM", "unshare all EPERM", "clone EPERM", "clone3 ENOSYS", "setns EPERM"),
    *("TIOCSTI EPERM", "TIOCLINUX EPERM", "F_SETLEASE EPERM") * 2,
    *(f"{name} EPERM" for name in syscalls.FORBIDDEN[1:]),
    *(f"{name} ENOSYS" for name in syscalls.ABSENT[1:]),
    *(f"{name} EAFNOSUPPORT" for name in ("VSOCK", "ALG", "PACKET")),
    *(f"{name} EPROTONOSUPPORT" for name in ("MPTCP", "SCTP")),
]

# The same for the second filter, where Landlock alone shuts in; "other" is the number of a process that is not to be touched.
CALLS_ALONE = f"""
import ctypes, errno, os, socket, sys
libc, calls, other = ctypes.CDLL(None, use_errno=True), {KNOWN}, int(sys.argv[1])
def call(name, *arguments, told=None):
    if name in calls:
        ctypes.set_errno(0)
        answer = libc.syscall(calls[name], *map(ctypes.c_long, arguments))
        print(told or name, errno.errorcode.get(ctypes.get_errno(), answer))
def tried(told, act):
    try:
        print(told, act() or "done")
    except OSError as error:
        print(told, errno.errorcode[error.errno])
for name in {(*syscalls.FORBIDDEN_ALONE, *syscalls.ABSENT_ALONE, *syscalls.UNSUPPORTED_ALONE)}:
    call(name, -1, -1, -1, -1, -1)
for name in {syscalls.OF_A_PROCESS}:
    call(name, other, 0, 0, 0)
    call(name, 1 << 32, 0, 0, 0, told="own " + name)
for which in (1, 2, 3):
    call("setpriority", which, 0, 5, told=f"setpriority {{which}}")
    call("ioprio_set", which, other, 0, told=f"ioprio_set {{which}}")
call("setpriority", 0, other, 5)
tried("own setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 19))
inet, stream, datagram = socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
for send in (lambda: socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", 9)), lambda: socket.socket().sendmsg([b"x"], (), 0x20000000)):
    tried("fast", send)
tried("unix", lambda: socket.socket(socket.AF_UNIX) and None)
tried("UDP", lambda: socket.socket(inet, datagram | socket.SOCK_NONBLOCK) and None)
tried("TCP", lambda: socket.socket(inet, stream | socket.SOCK_CLOEXEC) and None)
for kind in (stream, socket.SOCK_SEQPACKET, datagram, socket.SOCK_RAW):
    tried(f"pair {{int(kind)}}", lambda: socket.socketpair(socket.AF_UNIX, kind) and None)
a, b = socket.socketpair()
tried("pair to another", lambda: a.connect(sys.argv[2]))
"""
UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]
REFUSED_ALONE = [
    *(f"{name} EPERM" for name in syscalls.FORBIDDEN_ALONE if name in KNOWN),
    *(f"{name} ENOSYS" for name in syscalls.ABSENT_ALONE if name in KNOWN),
    *(f"{name} {UNSUPPORTED}" for name in syscalls.UNSUPPORTED_ALONE if name in KNOWN),
    *(f"{name} EPERM" for name in syscalls.OF_A_PROCESS),
    *("setpriority 1 EPERM", "ioprio_set 1 EPERM", "setpriority 2 EPERM", "ioprio_set 2 EPERM", "setpriority 3 EPERM"),
    *("ioprio_set 3 EPERM", "setpriority EPERM", "own setpriority done", *[f"fast {UNSUPPORTED}"] * 2),
    *("unix EAFNOSUPPORT", "UDP EACCES", "TCP done", "pair 1 done", "pair 5 done", "pair 2 ESOCKTNOSUPPORT"),
    *("pair 3 ESOCKTNOSUPPORT", "pair to another EACCES"),
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
# The machine's own calls by another door: as 32-bit programs ask (getpid), and as x32's.
ANOTHER_DOOR = """
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


@pytest.fixture(params=MODES or ["none"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    workspace = tmp_path / "workspace"
    for folder in ("home", "tmp"):
        (workspace / folder).mkdir(parents=True)
    made = choose(request.param, POLICY).sandbox(workspace, "a build")
    assert made is not None
    return made


def lines_of(sandbox: Sandbox, script: str, code: str = "") -> list[str]:
    """What the shell's ``script`` prints, in a workspace that has ``code``."""
    (sandbox.workspace / "code").write_text(code)
    environment = toolchain.environment(sandbox.workspace, extra={}, network=False)
    return start(sandbox, ["/bin/sh", "-c", script], env=environment)[1]


def test_what_a_build_has_no_need_of_is_refused(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code", CALLS) == REFUSED


def test_what_namespaces_do_elsewhere_a_second_filter_does(sandbox: Sandbox, tmp_path: Path) -> None:
    if sandbox.mode != Mode.LANDLOCK:
        pytest.skip("bubblewrap's have namespaces")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        lines = lines_of(sandbox, f"{sys.executable} -I code {os.getpid()} {tmp_path}/s", CALLS_ALONE)
    own = [line for line in lines if line.startswith("own ") and "setpriority" not in line]
    assert [line for line in lines if line not in own] == REFUSED_ALONE
    assert [line for line in own if line.endswith("EPERM")] == [], "where no other process is named"


def test_it_is_the_filter_that_refuses(sandbox: Sandbox) -> None:
    lines = lines_of(replace(sandbox, refused=b""), f"{sys.executable} -I code", CALLS)
    assert [line for line in lines if line.split()[0] in ("setns", "clone3", "TIOCSTI", "keyctl")] == [
        *("clone3 EINVAL", "setns EBADF", "TIOCSTI EBADF", "TIOCSTI EBADF", f"keyctl {errno.errorcode[errno.EOPNOTSUPP]}"),
    ]
    if sandbox.uid is not None:
        assert lines[0] == "unshare 0", "as root, nothing else refuses user namespaces"


def test_all_that_is_inside_is_under_the_filter(sandbox: Sandbox) -> None:
    """A build's programs may trace others of their user: where those are free, so are they. Landlock alone shows no processes, and
    lets trace none."""
    lines = lines_of(sandbox, "cat /proc/1/status /proc/self/status 2> /dev/null | grep -w Seccomp:")
    assert lines == (["Seccomp:\t2"] * 2 if sandbox.mode == Mode.BUBBLEWRAP else [])


def test_threads_and_processes_of_python_go_on(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code", THREADS) == ["thread", "process", "program", "7"]


def test_threads_and_processes_of_node_go_on(sandbox: Sandbox) -> None:
    if not shutil.which("node", path=toolchain.environment(Path(), extra={}, network=False)["PATH"]):
        pytest.skip("node is not installed")
    assert sorted(lines_of(sandbox, "node code", NODE)) == ["0", "42", "program"]


def test_git_goes_on(sandbox: Sandbox) -> None:
    if not shutil.which("git", path=toolchain.SYSTEM_PATH):
        pytest.skip("git is not installed")
    who = "-c user.name=a -c user.email=a@b.c"
    script = f"git init -q r && cd r && echo x > a && git add a && git {who} commit -qm one && git gc -q && git log --format=%s"
    assert lines_of(sandbox, script)[-1] == "one"


@pytest.mark.skipif(NAME != "x86_64", reason="32-bit and x32 calls are x86_64's")
def test_there_is_no_other_door_to_the_same_calls(sandbox: Sandbox) -> None:
    assert lines_of(sandbox, f"{sys.executable} -I code x32", ANOTHER_DOOR) == ["ENOSYS"] * 3
    lines = lines_of(sandbox, f"{sys.executable} -I code 32-bit; echo $?", ANOTHER_DOOR)
    assert (lines[-1], "True" in lines) == (str(128 + 31), False)


@pytest.mark.parametrize("name", HEADERS)
def test_the_numbers_are_those_of_the_kernel(name: str) -> None:
    headers = Path(HEADERS[name])
    if not headers.exists():
        pytest.skip(f"{headers} is not installed")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", headers.read_text()))
    calls = syscalls.MACHINES[name].calls
    assert {call: str(number) for call, number in calls.items() if call in known} == {
        call: known[call] for call in calls if call in known
    }
    newer = {"open_tree_attr", "fchmodat2", "setxattrat", "removexattrat", "file_setattr"}
    assert set(calls) - set(known) <= newer, "newer than the headers may be"


# Takes the filters away, as a kernel without them: the calls that set one are answered EINVAL.
WITHOUT = f"""
import ctypes
from builds import syscalls
from builds.syscalls import LOAD, EQUAL, RETURN, ALLOW, REFUSE, Step
steps = [
    Step(LOAD, 0), Step(EQUAL, {157 if NAME == "x86_64" else 167}, "prctl", "other"),
    "prctl", Step(LOAD, 16), Step(EQUAL, 22, "refused"), "other", Step(RETURN, ALLOW), "refused", Step(RETURN, REFUSE | {errno.EINVAL}),
]
from builds.tools import enter
assert syscalls.problem() == ""
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
enter._refuse(syscalls.assembled(steps))
import django
django.setup()
from builds import isolation
print(isolation.in_words())
"""


def test_a_kernel_without_filters_is_told(tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "BUILD_SANDBOX": MODES[0], "BUILD_CGROUPS": "no"}
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "builds may ask anything of the kernel, user namespaces too: the kernel has no seccomp filters." in answer.stdout


def test_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert syscalls.problem() == "the calls of riscv64 are not known to Jobsite."
