"""The last step before a build's program starts. Runs inside the sandbox: sets limits, changes the user, applies Landlock's rules, and
becomes the program.

Usage: enter.py PLAN PROGRAM [ARGUMENT...]

PLAN is a dictionary, written by marshal, in hex: ``ready`` (a descriptor on which to report), ``limits`` (by the name of the RLIMIT_),
``nice``, ``uid`` (of an ordinary user, if this is root), ``cwd``, ``signals`` (which Python ignores, and the program must not), ``relay``
(a ``port`` to listen on, and the ``socket`` of the proxy behind it), ``landlock`` (builds/engine/sandbox/landlock.py).

Reported is ``R`` once all of it is done, followed by the error's number if the program can't be started, or ``E`` and the error's number
if any of it fails.

Every command of a build passes through here, so this imports little: json, socket and landlockpy would take longer than all the rest.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import marshal
import os
import resource
import select
import sys

TYPE_CHECKING = False  # mypy reads this as typing's own
if TYPE_CHECKING:
    from socket import socket as Socket
    from typing import Any, NoReturn

PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAPABILITY = 38, 24, 63
# Landlock's system calls have the same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, PATH_BENEATH = 444, 445, 446, 1
LIBC = ctypes.CDLL(None, use_errno=True)


class RulesetAttr(ctypes.Structure):
    """struct landlock_ruleset_attr. A kernel that does not know the later fields accepts them if they are 0."""

    _fields_ = (("handled_fs", ctypes.c_uint64), ("handled_net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneathAttr(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _layout_ = "ms"  # from Python 3.14 on, a packed structure has to say so
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def main(plan: dict[str, Any], argv: list[str]) -> None:
    try:
        prepare(plan)
        if plan.get("relay"):
            _start_relay(**plan["relay"])
        become(plan, argv)
    except OSError as error:
        report_failure(plan, error)
        raise


def prepare(plan: dict[str, Any]) -> None:
    """Limits, user, folder, and no new privileges from here on."""
    os.set_inheritable(plan["ready"], False)
    _set_limits(plan)
    if plan.get("uid") is not None:
        _change_user(plan["uid"])
    os.chdir(plan["cwd"])
    _check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def become(plan: dict[str, Any], argv: list[str]) -> None:
    """Apply Landlock's rules, report, and become the program."""
    if plan.get("landlock"):
        apply_landlock(plan["landlock"])
    for number in plan["signals"]:
        LIBC.signal(number, None)  # SIG_DFL
    os.write(plan["ready"], b"R")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is intended
    except OSError as error:
        os.write(plan["ready"], str(error.errno).encode())
        sys.exit(127)


def report_failure(plan: dict[str, Any], error: OSError) -> None:
    """Report why the program was not started. The error itself goes to the log."""
    if error.errno:
        os.write(plan["ready"], b"E%d" % error.errno)


def _set_limits(plan: dict[str, Any]) -> None:
    for name, limit in plan["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(number, (limit, limit))
    os.nice(plan.get("nice", 0))
    try:
        # If the machine runs out of memory, the kernel ends a build first.
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - pathlib is slow to import
            file.write("1000")
    except OSError:
        return


def _change_user(uid: int) -> None:
    """From root to a user that owns nothing on this machine but its workspace."""
    for capability in range(LAST_CAPABILITY + 1):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _start_relay(port: int, socket: str) -> None:
    """Start :func:`serve` in a process that is not a child of the program's."""
    listening = listen(port)
    if os.fork() == 0:
        failed = errno.EIO
        try:
            os.setsid()
            if os.fork() == 0:
                serve(listening.fileno(), socket)
            failed = 0
        except OSError as error:
            failed = error.errno or failed
        finally:
            os._exit(failed)  # whatever happens, only one process may report and become the program
    if failed := os.waitstatus_to_exitcode(os.wait()[1]):
        raise OSError(failed if failed > 0 else errno.EIO, "The relay to the proxy was not started")
    listening.close()


def listen(port: int) -> _socket.socket:
    """A listening socket on ``port`` of the loopback."""
    listening = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(256)
    return listening


def serve(listening: int, path: str) -> NoReturn:
    """Connect each client to the proxy's socket: most programs can reach a proxy only over TCP."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # if they stayed open, the build's output would never end
        os.dup2(null, descriptor)
    os.closerange(3, listening)
    os.closerange(listening + 1, 256)
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    waiting.poll()
    import socket  # noqa: PLC0415 - most commands never ask for the network
    import threading  # noqa: PLC0415 - as above

    server = socket.socket(fileno=listening)
    while True:
        client, _address = server.accept()
        threading.Thread(target=_join, args=(client, path), daemon=True).start()


def _join(client: Socket, path: str) -> None:
    import socket  # noqa: PLC0415 - as above
    import threading  # noqa: PLC0415 - as above

    with client, socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(path)
        except OSError:
            return
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: Socket, target: Socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass  # one of the two is gone; the other has to learn it
    _shut(target)


def _shut(target: Socket) -> None:
    try:
        target.shutdown(_socket.SHUT_WR)
    except OSError:
        return


def apply_landlock(rules: dict[str, Any]) -> None:
    """Confine this process, and all that it starts, to what the rules allow."""
    ruleset = _call(CREATE_RULESET, ctypes.byref(RulesetAttr(*rules["handled"])), ctypes.sizeof(RulesetAttr), 0)
    for path, rights, of_file in rules["paths"]:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = rights if os.path.isdir(path) else of_file  # noqa: PTH112 - pathlib is slow to import
        if allowed:
            _call(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(PathBeneathAttr(allowed, descriptor)), 0)
        os.close(descriptor)
    _call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _call(number: int, *arguments: object) -> int:
    return _check(LIBC.syscall(number, *arguments))


def _check(answer: int) -> int:
    """The answer of a call to the kernel. Raises OSError if it is an error: nothing may start with less protection."""
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


if __name__ == "__main__":
    main(marshal.loads(bytes.fromhex(sys.argv[1])), sys.argv[2:])  # noqa: S302 - the service wrote it
