"""The keeper: the parent of a build's first process, outside its sandbox. It does for the build what process 1 does in a namespace.

Orphaned processes of the build become its children, so that the whole build stays below it. When the worker dies, it ends them all.

The kernel also asks it (seccomp_unotify(2)) about two kinds of system calls. Landlock does not restrict changes of a file's mode and
times, and the service's files may belong to the same user: the keeper makes such changes for the build, on files of the workspace only.
Landlock restricts ports but not addresses: the keeper connects the build's sockets, to the proxy only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
PARENT_DIED = signal.SIGUSR1
PAGE, MAX_PATH_BYTES, TIMES_BYTES = 4096, 4096, 32
MAX_ADDRESS = 1 << 62
END_SECONDS = 30.0
PIDFD_GETFD, PIDFD_THREAD = 438, os.O_EXCL

# struct seccomp_notif, struct seccomp_notif_resp, and the requests to a filter's descriptor (linux/seccomp.h).
CALL, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE, SEND = 0xC0502100, 0xC0182101

LIBC = ctypes.CDLL(None, use_errno=True)


def continue_below_a_keeper(parent: int, workspace: str, port: int, calls: Mapping[int, str]) -> socket.socket:
    """Return in a new child process, while this process becomes its keeper. ``parent`` is the process that started this one.

    Returns a socket; send the descriptor of the filter that asks about ``calls`` (by number) over it. The keeper connects the build to
    ``port`` of this machine; with 0, to nothing.
    """
    here, there = socket.socketpair()
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        here.close()
        return there
    there.close()
    try:
        _Keeper(child, parent, _Calls(calls, _Files(workspace), _Network(port))).stay(here)
    finally:
        os._exit(1)  # whatever happens, this process must not become the program


class _Keeper:
    def __init__(self, child: int, parent: int, calls: _Calls) -> None:
        self._child, self._parent, self._calls = child, parent, calls
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stay(self, channel: socket.socket) -> NoReturn:
        """Answer the kernel until the child ends, and exit with its code."""
        self._handle_signals()
        _keep_open(self._woken, self._waker, channel.fileno())
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if listener := _receive_descriptor(channel):
            poll.register(listener, select.POLLIN)
        while True:
            if os.getppid() != self._parent:
                _end_all()
            self._reap()
            for descriptor, happened in poll.poll():
                if descriptor == self._woken:
                    os.read(self._woken, PAGE)
                elif happened & select.POLLIN:
                    self._calls.answer(descriptor)
                else:
                    poll.unregister(descriptor)

    def _handle_signals(self) -> None:
        """Requests to end are ignored: the build's programs get them too."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, PARENT_DIED):
            signal.signal(number, lambda *_ignored: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        LIBC.prctl(PR_SET_PDEATHSIG, PARENT_DIED, 0, 0, 0)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    os._exit(code if code >= 0 else 128 - code)


def _keep_open(*kept: int) -> None:
    """Close all other descriptors: a pipe does not end while anyone may write to it."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _receive_descriptor(channel: socket.socket) -> int | None:
    """The filter's descriptor; None if the child ended before it sent one."""
    _data, descriptors, _flags, _address = socket.recv_fds(channel, 1, 1)
    channel.close()
    return descriptors[0] if descriptors else None


def _end_all() -> NoReturn:
    """End every process below this one. What is orphaned meanwhile becomes a child of this one."""
    deadline = time.monotonic() + END_SECONDS
    while (found := _descendants()) and time.monotonic() < deadline:
        for number in (signal.SIGSTOP, signal.SIGKILL):  # a stopped process can't fork
            for pid in {*found, *_descendants()}:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)
    os._exit(1)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


class _Calls:
    """Answers the kernel's questions."""

    def __init__(self, names: Mapping[int, str], files: _Files, network: _Network) -> None:
        self._names, self._files, self._network = names, files, network

    def answer(self, listener: int) -> None:
        """Answer the next question."""
        asked = bytearray(CALL.size)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
        except OSError:  # the process that asked has ended
            return
        number, pid, _flags, call, _machine, _at, *arguments = CALL.unpack(asked)
        name, error = self._names[call], 0
        try:
            getattr(self._network if name == "connect" else self._files, name)(pid, *arguments)
        except OSError as problem:
            error = problem.errno or errno.EPERM
        with suppress(OSError):
            fcntl.ioctl(listener, SEND, ANSWER.pack(number, 0, -error, 0))


class _Network:
    """Connects the build's sockets to the proxy, and to nothing else."""

    def __init__(self, port: int) -> None:
        self._address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
        self._is_there = port > 0

    def connect(self, pid: int, descriptor: int, address: int, length: int, *_more: int) -> None:
        """Connects the socket itself, to a copy of the address: another thread of the program may change the address meanwhile."""
        size = len(self._address)
        if not self._is_there or length < size or _memory(pid, address, size)[:-8] != self._address[:-8]:
            raise PermissionError(errno.EACCES, "Not the proxy's address")
        process = os.pidfd_open(pid, PIDFD_THREAD)
        try:
            taken = LIBC.syscall(PIDFD_GETFD, process, ctypes.c_int(descriptor & 0xFFFFFFFF), 0)
        finally:
            os.close(process)
        if taken < 0:
            raise OSError(ctypes.get_errno(), "No such socket")
        try:
            if LIBC.connect(taken, self._address, size) != 0:
                raise OSError(ctypes.get_errno(), "No connection")
        finally:
            os.close(taken)


class _Files:
    """Changes modes and times for the build's programs, on files of the workspace only.

    If a process ends meanwhile, another may get its number. The change is still made in the workspace.
    """

    def __init__(self, workspace: str) -> None:
        self._workspace = Path(workspace).resolve()

    def chmod(self, pid: int, path: int, mode: int, *_more: int) -> None:
        self._set_mode(pid, AT_FDCWD, path, mode, 0)

    def fchmod(self, pid: int, descriptor: int, mode: int, *_more: int) -> None:
        self._set_mode(pid, descriptor, 0, mode, AT_EMPTY_PATH)

    def fchmodat(self, pid: int, folder: int, path: int, mode: int, *_more: int) -> None:
        self._set_mode(pid, folder, path, mode, 0)

    def fchmodat2(self, pid: int, folder: int, path: int, mode: int, flags: int, *_more: int) -> None:
        self._set_mode(pid, folder, path, mode, flags)

    def utimensat(self, pid: int, folder: int, path: int, times: int, flags: int, *_more: int) -> None:
        given = _memory(pid, times, TIMES_BYTES) if times else None
        self._on_own(pid, folder, path, flags, lambda name: LIBC.utimensat(AT_FDCWD, name, given, 0))

    def _set_mode(self, pid: int, folder: int, path: int, mode: int, flags: int) -> None:
        self._on_own(pid, folder, path, flags, lambda name: LIBC.chmod(name, mode & 0o7777))

    def _on_own(self, pid: int, folder: int, path: int, flags: int, act: Callable[[bytes], int]) -> None:
        """``act`` gets a name of the file that stays valid even if its path changes."""
        found = _open(pid, folder, _text(pid, path) if path else b"", flags & 0xFFFFFFFF)
        try:
            name = f"/proc/self/fd/{found}"
            if not Path(name).readlink().is_relative_to(self._workspace):
                raise PermissionError(errno.EPERM, "Not a file of the workspace")
            if act(name.encode()) != 0:
                raise OSError(ctypes.get_errno(), "The kernel refused it")
        finally:
            os.close(found)


def _open(pid: int, folder: int, path: bytes, flags: int) -> int:
    """Resolve a path as the process ``pid`` would. Returns a descriptor that names the file but can't read it."""
    number = ctypes.c_int(folder & 0xFFFFFFFF).value
    start = f"/proc/{pid}/cwd" if number == AT_FDCWD else f"/proc/{pid}/fd/{number}"
    if not path:
        if not flags & AT_EMPTY_PATH:
            raise FileNotFoundError(errno.ENOENT, "An empty path")
        return os.open(start, os.O_PATH)
    for own in (b"/proc/self/", b"/proc/thread-self/"):
        if path.startswith(own):
            path = b"/proc/%d/" % pid + path.removeprefix(own)
    how = os.O_PATH | (os.O_NOFOLLOW if flags & AT_SYMLINK_NOFOLLOW else 0)
    if path.startswith(b"/"):
        return os.open(path, how)
    at = os.open(start, os.O_PATH)
    try:
        return os.open(path, how, dir_fd=at)
    finally:
        os.close(at)


def _text(pid: int, address: int) -> bytes:
    """The text at ``address``. Read page by page: the memory after its end may not exist."""
    found = b""
    while len(found) < MAX_PATH_BYTES:
        found += _memory(pid, address + len(found), PAGE - (address + len(found)) % PAGE)
        if b"\0" in found:
            return found.partition(b"\0")[0]
    raise OSError(errno.ENAMETOOLONG, "No end of the path")


def _memory(pid: int, address: int, size: int) -> bytes:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        found = os.pread(memory, size, address) if address < MAX_ADDRESS else b""
    finally:
        os.close(memory)
    if len(found) < size:
        raise OSError(errno.EFAULT, "Bad address")
    return found
