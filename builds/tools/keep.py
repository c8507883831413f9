"""Stays with a build's programs where they have no namespaces of their own: their first process's parent, outside their sandbox.

It is to them what process 1 is in a namespace. Whoever loses its parent becomes its child, so that all of a build is below it; and
where its own parent dies, it ends them.

And the kernel asks it (seccomp_unotify(2)) about two kinds of calls. To change a file's mode or times is nothing that Landlock looks
at, and the service's files may be of the same user: it does that for them, on files of the workspace. Landlock knows of ports and not
of addresses: it connects for them, to the proxy's.
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = -100, 0x100, 0x1000
PARENT_DIED = signal.SIGUSR1
PAGE, LONGEST_PATH, TIMES_BYTES = 4096, 4096, 32
LAST_ADDRESS = 1 << 62
PIDFD_GETFD, PIDFD_THREAD = 438, os.O_EXCL

# struct seccomp_notif, struct seccomp_notif_resp, and what is asked of a filter's descriptor (linux/seccomp.h).
CALL, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
RECEIVE, SEND = 0xC0502100, 0xC0182101

LIBC = ctypes.CDLL(None, use_errno=True)


def below_a_keeper(parent: int, workspace: str, port: int, calls: Mapping[int, str]) -> socket.socket:
    """From now on this is a process below one that stays; ``parent`` is who has started it. Returned is where to send the descriptor
    of the filter that asks about ``calls``, by their numbers.

    There may be connections to that ``port`` of this machine; 0 is none.
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
        os._exit(1)  # whatever happens, this does not go on to become the program


class _Keeper:
    def __init__(self, child: int, parent: int, calls: _Calls) -> None:
        self._child, self._parent, self._calls = child, parent, calls
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stay(self, channel: socket.socket) -> NoReturn:
        """Ends with the child, and as it has."""
        self._listen()
        _keep_open(self._woken, self._waker, channel.fileno())
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if listener := _received(channel):
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

    def _listen(self) -> None:
        """To be asked to end is for the programs, which are asked too."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, PARENT_DIED):
            signal.signal(number, lambda *_told: None)
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
    """Close all else: a pipe that somebody may write to has no end."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _received(channel: socket.socket) -> int | None:
    """None where the child has ended before it had one."""
    _data, descriptors, _flags, _address = socket.recv_fds(channel, 1, 1)
    channel.close()
    return descriptors[0] if descriptors else None


def _end_all() -> NoReturn:
    from builds.process_tree import end_orphans  # noqa: PLC0415 - seldom wanted, and takes its time

    end_orphans()
    os._exit(1)


class _Calls:
    """What the kernel asks about."""

    def __init__(self, names: Mapping[int, str], files: _Files, network: _Network) -> None:
        self._names, self._files, self._network = names, files, network

    def answer(self, listener: int) -> None:
        """The next one."""
        asked = bytearray(CALL.size)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
        except OSError:  # who asked has ended
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
    """Of which a build reaches the proxy alone."""

    def __init__(self, port: int) -> None:
        self._address = struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton("127.0.0.1") + bytes(8)
        self._is_there = port > 0

    def connect(self, pid: int, descriptor: int, address: int, length: int, *_more: int) -> None:
        """What is connected is the very socket, and to the address that was looked at: another thread may change it meanwhile."""
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
    """Does for programs below this process what they ask of the kernel, where it concerns files of the workspace.

    A process that ends meanwhile may have its number taken by another. What is then done is still done in the workspace.
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
        """``act`` gets a name of the file by which it is reached whatever becomes of its path."""
        found = _opened(pid, folder, _text(pid, path) if path else b"", flags & 0xFFFFFFFF)
        try:
            name = f"/proc/self/fd/{found}"
            if not Path(name).readlink().is_relative_to(self._workspace):
                raise PermissionError(errno.EPERM, "Not a file of the workspace")
            if act(name.encode()) != 0:
                raise OSError(ctypes.get_errno(), "The kernel has refused it")
        finally:
            os.close(found)


def _opened(pid: int, folder: int, path: bytes, flags: int) -> int:
    """What a process means by a path, from where it stands: a descriptor that stands for it, and that nothing can be read by."""
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
    """Up to its end: what comes behind may not be there."""
    found = b""
    while len(found) < LONGEST_PATH:
        found += _memory(pid, address + len(found), PAGE - (address + len(found)) % PAGE)
        if b"\0" in found:
            return found.partition(b"\0")[0]
    raise OSError(errno.ENAMETOOLONG, "No end of the path")


def _memory(pid: int, address: int, size: int) -> bytes:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        found = os.pread(memory, size, address) if address < LAST_ADDRESS else b""
    finally:
        os.close(memory)
    if len(found) < size:
        raise OSError(errno.EFAULT, "Bad address")
    return found
