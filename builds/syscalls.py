"""What programs of a build may not ask of the kernel: a filter for its system calls (seccomp), which all that they start inherits.

Refused are user namespaces, in which an ordinary user becomes root before much of the kernel that is otherwise shut to it; calls that
no build needs and in which holes were found again and again; and sockets other than those of files, TCP and UDP: virtual machines'
(AF_VSOCK) are of no network namespace, and Landlock does not take MPTCP for TCP. Everything else is allowed.

The machines known are x86_64 and aarch64. On others there is no filter, which :func:`problem` says. A program of another machine's
kind (32-bit) is killed, and x32's calls don't exist: their numbers mean something else.

The program is a classic BPF one over ``struct seccomp_data`` (the kernel's seccomp_filter.rst).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
KILL, REFUSE, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
# Offsets in seccomp_data; the arguments are 64-bit numbers, of which the kernel takes the lower halves for what is looked at here.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32_BIT = 0x40000000
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)  # by netlink, programs list the network's interfaces
PROTOCOLS = (0, 1, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 58)  # 1 and 58: ping, and AF_UNIX's own number

# Refused as where one lacks the right, and as where the kernel is older: what uses those has another way then.
FORBIDDEN = (
    *("setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "syslog", "open_by_handle_at"),
)
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")

# Since Linux 5.1 a new call has one number everywhere.
_NEW = {
    **{
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
    },
    **{"fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "mount_setattr": 442, "open_tree_attr": 467},
}


@dataclass(frozen=True)
class Machine:
    """As the kernel calls it (AUDIT_ARCH_), and the numbers of its calls."""

    architecture: int
    calls: dict[str, int]


MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        {
            **{"ioctl": 16, "socket": 41, "clone": 56, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "syslog": 103},
            **{"pivot_root": 155, "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321, "perf_event_open": 298},
            **{"userfaultfd": 323, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313},
            **{"delete_module": 176, "open_by_handle_at": 304},
            **_NEW,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            **{"ioctl": 29, "socket": 198, "clone": 220, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "syslog": 116},
            **{"pivot_root": 41, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241},
            **{"userfaultfd": 282, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273},
            **{"delete_module": 106, "open_by_handle_at": 265},
            **_NEW,
        },
    ),
}


def machine_name() -> str:
    """What programs of this Python's kind run on."""
    return platform.machine() if sys.maxsize > 1 << 32 else f"32-bit {platform.machine()}"


def problem() -> str:
    """Why there is no filter on this machine; empty where there is. Asked with a filter that is none, which a kernel that has them
    finds at no address."""
    if machine_name() not in MACHINES:
        return f"the calls of {machine_name()} are not known to Jobsite."
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0)
    return "" if ctypes.get_errno() == errno.EFAULT else "the kernel has no seccomp filters."


def filter_here() -> tuple[bytes, tuple[str, ...]]:
    """This machine's filter; or what to tell where there is none: builds run without it, and the rest of the sandbox holds."""
    if sys.platform != "linux":
        return b"", ()
    if why := problem():
        return b"", (f"builds may ask anything of the kernel, user namespaces too: {why}",)
    return program(machine_name()), ()


# --- the program


@dataclass(frozen=True)
class Step:
    """One instruction. A jump goes to the steps' label ``yes``, or on to the next; and to ``no``, or on."""

    code: int
    value: int
    yes: str = ""
    no: str = ""


@cache
def program(name: str, *, named_sockets: bool = True) -> bytes:
    """The filter for the machine of that name. A label stands before the step that it names.

    Without ``named_sockets`` no Unix socket can be made that connects to one by its name, but pairs of them can.
    """
    calls = MACHINES[name].calls
    lines: list[Step | str] = [
        Step(LOAD, ARCHITECTURE),
        Step(EQUAL, MACHINES[name].architecture, no="killed"),
        Step(LOAD, NUMBER),
        Step(AT_LEAST, X32_BIT, "absent"),
        *_is_one_of((calls[call] for call in FORBIDDEN), "forbidden"),
        *_is_one_of((calls[call] for call in ABSENT), "absent"),
        *_is_one_of((calls["clone"], calls["unshare"]), "namespaces"),
        *_is_one_of([calls["ioctl"]], "terminal"),
        *_is_one_of([calls["socket"]], "family"),
        Step(RETURN, ALLOW),
        "namespaces",
        _argument(0),
        Step(ANY_BIT, CLONE_NEWUSER, "forbidden", "allowed"),
        "terminal",
        _argument(1),
        *_is_one_of((TIOCSTI, TIOCLINUX), "forbidden"),
        Step(RETURN, ALLOW),
        "family",
        _argument(0),
        *_is_one_of([family for family in FAMILIES if named_sockets or family != socket.AF_UNIX], "protocol"),
        Step(RETURN, REFUSE | errno.EAFNOSUPPORT),
        "protocol",
        _argument(2),
        *_is_one_of(PROTOCOLS, "allowed"),
        Step(RETURN, REFUSE | errno.EPROTONOSUPPORT),
    ]
    ends = {"allowed": ALLOW, "forbidden": REFUSE | errno.EPERM, "absent": REFUSE | errno.ENOSYS, "killed": KILL}
    for label, answer in ends.items():
        lines.extend((label, Step(RETURN, answer)))
    return assembled(lines)


def _argument(index: int) -> Step:
    return Step(LOAD, ARGUMENTS + 8 * index)


def _is_one_of(values: Iterable[int], label: str) -> list[Step]:
    return [Step(EQUAL, value, label) for value in values]


def assembled(lines: Iterable[Step | str]) -> bytes:
    """The machine's words for it. Jumps only lead forward."""
    steps: list[Step] = []
    labels: dict[str, int] = {}
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(steps)
        else:
            steps.append(line)
    words = []
    for place, step in enumerate(steps):
        yes, no = (labels[label] - place - 1 if label else 0 for label in (step.yes, step.no))
        words.append(struct.pack("=HBBI", step.code, yes, no, step.value))
    return b"".join(words)
