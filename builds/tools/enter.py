"""The last step before a build's program begins, run inside its sandbox: limits, an ordinary user, a filter, Landlock; the program.

Usage: enter.py PLAN PROGRAM [ARGUMENT...]

PLAN is JSON: ``ready`` (a descriptor that is told how it went), ``limits`` (by the name of the RLIMIT_), ``nice``, ``uid`` (of an
ordinary user, where this is root), ``cwd``, ``refused`` (a filter for system calls, in hex: see builds/syscalls.py), ``relay`` (a
port, and the socket behind it), ``landlock`` (paths that can be read and written, and whether no TCP port can be used), ``keeper``
(where there are no namespaces: a second ``filter``, the calls that it has ``asked`` about, by number, and for builds/tools/keep.py the
``parent``, ``workspace`` and ``port``).

Told is ``R`` once all of it is done; then, if the program can't be started, the number of the error.
"""

import ctypes
import ctypes.util
import json
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAPABILITY = 1, 38, 24, 63
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
# By a descriptor; and what is being done for a program is not broken off by a signal, so that it is not done twice.
SECCOMP_SET_MODE_FILTER, NEW_LISTENER, WAIT_KILLABLE_RECV = 1, 8, 32


def main(plan: dict[str, Any], argv: list[str]) -> None:
    ready = plan["ready"]
    os.set_inheritable(ready, False)
    _lower(plan)
    if plan.get("uid") is not None:
        _become(plan["uid"])
    os.chdir(plan["cwd"])
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if plan.get("refused"):
        _refuse(bytes.fromhex(plan["refused"]))
    if plan.get("relay"):  # held by the filter too: the build's programs could make it act for them
        _relay(plan["relay"]["port"], plan["relay"]["socket"], stays=bool(plan.get("keeper")))
    if plan.get("keeper"):
        _keep(plan["keeper"])
    if plan.get("landlock"):
        _shut_in(plan["landlock"])
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what is ignored stays so in the program
    os.write(ready, b"R")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - without a shell is meant
    except OSError as error:
        os.write(ready, str(error.errno).encode())
        sys.exit(127)


def _lower(plan: dict[str, Any]) -> None:
    for name, most in plan["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))
    os.nice(plan.get("nice", 0))
    with suppress(OSError):
        # Where the machine runs out of memory, the kernel ends a build first.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _become(uid: int) -> None:
    """From root to a user that owns nothing on this machine but its workspace."""
    for capability in range(LAST_CAPABILITY + 1):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def _refuse(steps: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(steps) // 8, steps)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "The filter for system calls was not taken")


def _keep(keeper: dict[str, Any]) -> None:
    """What follows is done below the keeper, who is told of the filter that asks it."""
    sys.path.append(str(Path(__file__).parents[2]))
    from builds.tools.keep import below_a_keeper  # noqa: PLC0415 - bubblewrap does not show it, and has its own

    asked = {int(number): call for number, call in keeper["asked"].items()}
    with below_a_keeper(keeper["parent"], keeper["workspace"], keeper["port"], asked) as channel:
        steps, libc = bytes.fromhex(keeper["filter"]), ctypes.CDLL(None, use_errno=True)
        program = ctypes.byref(_Program(len(steps) // 8, steps))
        listener = libc.syscall(keeper["seccomp"], SECCOMP_SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE_RECV, program)
        if listener < 0:
            raise OSError(ctypes.get_errno(), "The filter that asks was not taken")
        socket.send_fds(channel, [b"."], [listener])
        os.close(listener)


def _relay(port: int, path: str, *, stays: bool) -> None:
    """What programs can only ask by TCP: a port of this sandbox's loopback, behind which is the proxy's socket. It ends with this
    process, if that ``stays``; else it is no child of what the program takes for its own."""
    listening = socket.create_server(("127.0.0.1", port), backlog=256)
    if os.fork() == 0:
        os.setsid()
        if stays:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        elif os.fork():
            os._exit(0)
        _serve(listening, path)
    if not stays:
        os.wait()
    listening.close()


def _serve(listening: socket.socket, path: str) -> NoReturn:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # else the build's output would never end
        os.dup2(null, descriptor)
    os.closerange(3, listening.fileno())
    os.closerange(listening.fileno() + 1, 256)
    while True:
        client, _address = listening.accept()
        threading.Thread(target=_join, args=(client, path), daemon=True).start()


def _join(client: socket.socket, path: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        server.connect(path)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _shut_in(rules: dict[str, Any]) -> None:
    ctypes.util.find_library = lambda name: None  # it would start programs to find the C library that is loaded already
    from landlockpy import AccessFS, AccessNet, Ruleset, Scope  # noqa: PLC0415 - only where it is asked for

    look = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE
    net = AccessNet.BIND_TCP | AccessNet.CONNECT_TCP if rules["no_ports"] else AccessNet.NONE
    scoped = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
    with Ruleset(handled_net=net, scoped=scoped) as ruleset:
        everything = ruleset.handled_fs
        for paths, rights in (
            (rules["read"], look),
            (rules["write"], everything),
            (rules["devices"], look | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV),
        ):
            for path in filter(os.path.exists, paths):
                inside = rights if os.path.isdir(path) else rights & ~AccessFS.READ_DIR  # noqa: PTH112 - as the kernel sees it
                ruleset.allow_path(path, inside & everything)
        ruleset.restrict()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
