"""The seccomp filter that every build runs under, and that every program it starts inherits.

It refuses user namespaces, in which an ordinary user becomes root for large parts of the kernel; system calls that no build needs and
that are a frequent source of vulnerabilities; file leases, which could make the service wait when it opens a file; and all sockets
except files', TCP's and UDP's: network namespaces do not cover virtual machines' sockets (AF_VSOCK), and Landlock does not count MPTCP
as TCP. Everything else is allowed.

Only x86_64 and aarch64 are known. Elsewhere builds run without the filter, which :func:`find_problem` reports. A 32-bit program is
killed, and x32 calls are answered as unknown, because their numbers mean other calls.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import sys
from functools import cache

from builds.engine.sandbox.bpf import (
    ALLOW,
    ANY_BIT,
    AT_LEAST,
    EQUAL,
    REFUSE,
    RETURN,
    Step,
    assemble,
    check_architecture,
    jump_if_any,
    load_argument,
    verdicts,
)
from builds.engine.sandbox.syscall_numbers import MACHINES, machine_name

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
X32_BIT = 0x40000000
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
F_SETLEASE = 1024

NETLINK = 16  # programs list the network's interfaces through it
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, NETLINK)
PROTOCOLS = (0, 1, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 58)  # 1 is also AF_UNIX's own number; 1 and 58 are ping

# Answered as for a user without the right (EPERM).
FORBIDDEN = (
    *("setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "syslog", "open_by_handle_at"),
)
# Answered as by an older kernel (ENOSYS): programs that use these calls then use another way.
# Shared memory of System V can be held without any process, so nobody could count it.
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "shmget")


def find_problem() -> str:
    """Why this machine can't have the filter; empty if it can.

    The kernel is asked with an invalid filter: a kernel that supports filters reports a bad address.
    """
    if machine_name() not in MACHINES:
        return f"Jobsite does not know the system calls of {machine_name()}."
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0)
    return "" if ctypes.get_errno() == errno.EFAULT else "the kernel has no seccomp filters."


def filter_for_this_machine() -> tuple[bytes, tuple[str, ...]]:
    """The filter; or an empty one, and what operators must know: the rest of the sandbox still holds."""
    if sys.platform != "linux":
        return b"", ()
    if problem := find_problem():
        return b"", (f"builds can make any system call, also to create user namespaces: {problem}",)
    return build_filter(machine_name()), ()


@cache
def build_filter(name: str) -> bytes:
    """The filter for the machine of that name."""
    calls = MACHINES[name].calls
    return assemble(
        [
            *check_architecture(MACHINES[name].architecture),
            Step(AT_LEAST, X32_BIT, "absent"),
            *jump_if_any((calls[call] for call in FORBIDDEN), "forbidden"),
            *jump_if_any((calls[call] for call in ABSENT), "absent"),
            *jump_if_any((calls["clone"], calls["unshare"]), "namespaces"),
            *jump_if_any([calls["ioctl"]], "terminal"),
            *jump_if_any([calls["socket"]], "family"),
            *jump_if_any([calls["fcntl"]], "lease"),
            Step(RETURN, ALLOW),
            "lease",
            load_argument(1),
            Step(EQUAL, F_SETLEASE, "forbidden", "allowed"),
            "namespaces",
            load_argument(0),
            Step(ANY_BIT, CLONE_NEWUSER, "forbidden", "allowed"),
            "terminal",
            load_argument(1),
            *jump_if_any((TIOCSTI, TIOCLINUX), "forbidden"),
            Step(RETURN, ALLOW),
            "family",
            load_argument(0),
            *jump_if_any(FAMILIES, "protocol"),
            Step(RETURN, REFUSE | errno.EAFNOSUPPORT),
            "protocol",
            load_argument(2),
            *jump_if_any(PROTOCOLS, "allowed"),
            Step(RETURN, REFUSE | errno.EPROTONOSUPPORT),
            *verdicts(),
        ]
    )
