"""What programs of a build may not ask of the kernel: a filter for its system calls (seccomp), which all that they start inherits.

Refused are user namespaces, in which an ordinary user becomes root before much of the kernel that is otherwise shut to it; calls that
no build needs and in which holes were found again and again; leases on files, which may be the service's too, and at which it would
wait; and sockets other than those of files, TCP and UDP: virtual machines' (AF_VSOCK) are of no network namespace, and Landlock does
not take MPTCP for TCP. Everything else is allowed.

Where Landlock alone shuts a build in, a second filter holds what namespaces do elsewhere: no build may change another's priority or
limits, leave messages in memory that is all programs', or find a way around Landlock's rules for sockets; and a program of ours is
asked where only it can tell (builds/tools/keep.py).

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
KILL, REFUSE, ASK, ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
# Offsets in seccomp_data; the arguments are 64-bit numbers, of which the kernel takes the lower halves for what is looked at here.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32_BIT = 0x40000000
CLONE_NEWUSER = 0x10000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
F_SETLEASE = 1024

NETLINK = 16  # by it, programs list the network's interfaces
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, NETLINK)
PROTOCOLS = (0, 1, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 58)  # 1 and 58: ping, and AF_UNIX's own number

# Refused as where one lacks the right, and as where the kernel is older: what uses those has another way then.
FORBIDDEN = (
    *("setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("mount_setattr", "open_tree_attr", "add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "syslog", "open_by_handle_at"),
)
ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")

# Where Landlock alone shuts a build in:
# SysV's shared memory, queues and locks are the machine's, and stay; what is written into a folder can be watched without being read.
ABSENT_ALONE = (
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl"),
    *("mq_open", "mq_unlink", "inotify_init", "inotify_init1", "fanotify_init", "utime", "utimes", "futimesat", "file_setattr"),
)
# Owners and attributes (access lists are some) belong to files, whatever Landlock says; and what is not bound listens all the same.
FORBIDDEN_ALONE = ("chown", "fchown", "lchown", "fchownat", "listen")
UNSUPPORTED_ALONE = (
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "setxattrat", "removexattrat"),
)
# Times of what is open may be set unasked: to unpack an archive would take its time.
ASKED_ALONE = ("chmod", "fchmod", "fchmodat", "fchmodat2", "utimensat", "connect")
# Of the process that they name, 0 is the one that asks.
OF_A_PROCESS = ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setattr", "sched_setaffinity")
PRIO_PROCESS, IOPRIO_WHO_PROCESS = 0, 1
# With it, data is sent without a connect() that Landlock would look at: of each call, which argument has the flags.
MSG_FASTOPEN = 0x20000000
SENDS = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
SOCK_TYPE = 0xF
CONNECTED = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)  # a pair of datagram sockets can still send to others

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
    **{"fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "mount_setattr": 442, "fchmodat2": 452, "setxattrat": 463},
    **{"removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469},
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
            **{"fcntl": 72, "delete_module": 176, "open_by_handle_at": 304},
            **{"shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220},
            **{"msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241, "fanotify_init": 300},
            **{"inotify_init": 253, "inotify_init1": 294, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280},
            **{"chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "chmod": 90, "fchmod": 91, "fchmodat": 268},
            **{"setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199},
            **{"prlimit64": 302, "sched_setparam": 142, "sched_setscheduler": 144, "sched_setattr": 314},
            **{"sched_setaffinity": 203, "setpriority": 141, "ioprio_set": 251, "listen": 50, "socketpair": 53},
            **{"connect": 42, "sendto": 44, "sendmsg": 46, "sendmmsg": 307, "seccomp": 317},
            **_NEW,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            **{"ioctl": 29, "socket": 198, "clone": 220, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "syslog": 116},
            **{"pivot_root": 41, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280, "perf_event_open": 241},
            **{"userfaultfd": 282, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273},
            **{"fcntl": 25, "delete_module": 106, "open_by_handle_at": 265},
            **{"shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semop": 193, "semctl": 191},
            **{"semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180, "mq_unlink": 181},
            **{"fanotify_init": 262, "inotify_init1": 26, "utimensat": 88, "fchown": 55, "fchownat": 54, "fchmod": 52},
            **{"fchmodat": 53, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15},
            **{"fremovexattr": 16, "prlimit64": 261, "sched_setparam": 118, "sched_setscheduler": 119, "sched_setattr": 274},
            **{"sched_setaffinity": 122, "setpriority": 140, "ioprio_set": 30, "listen": 201, "socketpair": 199},
            **{"connect": 203, "sendto": 206, "sendmsg": 211, "sendmmsg": 269, "seccomp": 277},
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
def program(name: str) -> bytes:
    """The filter for the machine of that name. A label stands before the step that it names."""
    calls = MACHINES[name].calls
    return assembled(
        [
            *_begun(name),
            Step(AT_LEAST, X32_BIT, "absent"),
            *_is_one_of((calls[call] for call in FORBIDDEN), "forbidden"),
            *_is_one_of((calls[call] for call in ABSENT), "absent"),
            *_is_one_of((calls["clone"], calls["unshare"]), "namespaces"),
            *_is_one_of([calls["ioctl"]], "terminal"),
            *_is_one_of([calls["socket"]], "family"),
            *_is_one_of([calls["fcntl"]], "lease"),
            Step(RETURN, ALLOW),
            "lease",
            _argument(1),
            Step(EQUAL, F_SETLEASE, "forbidden", "allowed"),
            "namespaces",
            _argument(0),
            Step(ANY_BIT, CLONE_NEWUSER, "forbidden", "allowed"),
            "terminal",
            _argument(1),
            *_is_one_of((TIOCSTI, TIOCLINUX), "forbidden"),
            Step(RETURN, ALLOW),
            "family",
            _argument(0),
            *_is_one_of(FAMILIES, "protocol"),
            Step(RETURN, REFUSE | errno.EAFNOSUPPORT),
            "protocol",
            _argument(2),
            *_is_one_of(PROTOCOLS, "allowed"),
            Step(RETURN, REFUSE | errno.EPROTONOSUPPORT),
            *_ended(),
        ]
    )


@cache
def program_alone(name: str) -> bytes:
    """The second filter, for where Landlock alone shuts a build in. Sockets are TCP's, netlink's, and pairs."""
    calls = MACHINES[name].calls
    return assembled(
        [
            *_begun(name),
            *_is_one_of(_numbers(name, FORBIDDEN_ALONE), "forbidden"),
            *_is_one_of(_numbers(name, ABSENT_ALONE), "absent"),
            *_is_one_of(_numbers(name, UNSUPPORTED_ALONE), "unsupported"),
            Step(EQUAL, calls["utimensat"], "utimensat"),
            *_is_one_of(_numbers(name, ASKED_ALONE), "asked"),
            *_is_one_of(_numbers(name, OF_A_PROCESS), "first is 0"),
            *(Step(EQUAL, calls[call], call) for call in ("setpriority", "ioprio_set", "socket", "socketpair", *SENDS)),
            Step(RETURN, ALLOW),
            "utimensat",
            _argument(1),
            Step(EQUAL, 0, no="asked"),
            _upper_half(1),
            Step(EQUAL, 0, "allowed", "asked"),
            *_of_the_process_itself(),
            *_of_sockets(),
            *_ended(),
        ]
    )


def _of_the_process_itself() -> list[Step | str]:
    return [
        "setpriority",
        _argument(0),
        Step(EQUAL, PRIO_PROCESS, "second is 0", "forbidden"),
        "ioprio_set",
        _argument(0),
        Step(EQUAL, IOPRIO_WHO_PROCESS, "second is 0", "forbidden"),
        "second is 0",
        _argument(1),
        Step(EQUAL, 0, "allowed", "forbidden"),
        "first is 0",
        _argument(0),
        Step(EQUAL, 0, "allowed", "forbidden"),
    ]


def _of_sockets() -> list[Step | str]:
    return [
        *(
            step
            for call, place in SENDS.items()
            for step in (call, _argument(place), Step(ANY_BIT, MSG_FASTOPEN, "unsupported", "allowed"))
        ),
        "socket",
        _argument(0),
        Step(EQUAL, NETLINK, "allowed"),
        *_is_one_of((socket.AF_INET, socket.AF_INET6), "type"),
        Step(RETURN, REFUSE | errno.EAFNOSUPPORT),
        "type",
        _argument(1),
        Step(AND, SOCK_TYPE),
        Step(EQUAL, socket.SOCK_STREAM, "allowed"),
        Step(RETURN, REFUSE | errno.EACCES),
        "socketpair",
        _argument(1),
        Step(AND, SOCK_TYPE),
        *_is_one_of(CONNECTED, "allowed"),
        Step(RETURN, REFUSE | errno.ESOCKTNOSUPPORT),
    ]


def asked_alone(name: str) -> dict[int, str]:
    """The calls that the second filter asks about, by their numbers."""
    return {number: call for call, number in MACHINES[name].calls.items() if call in ASKED_ALONE}


def _numbers(name: str, calls: Iterable[str]) -> list[int]:
    """Of those that this machine has: some have only newer ones."""
    return [MACHINES[name].calls[call] for call in calls if call in MACHINES[name].calls]


def _begun(name: str) -> list[Step | str]:
    return [Step(LOAD, ARCHITECTURE), Step(EQUAL, MACHINES[name].architecture, no="killed"), Step(LOAD, NUMBER)]


def _ended() -> Iterator[Step | str]:
    ends = {"forbidden": errno.EPERM, "absent": errno.ENOSYS, "unsupported": errno.EOPNOTSUPP}
    answers = {"allowed": ALLOW, "asked": ASK, "killed": KILL} | {label: REFUSE | error for label, error in ends.items()}
    for label, answer in answers.items():
        yield from (label, Step(RETURN, answer))


def _argument(index: int) -> Step:
    return Step(LOAD, ARGUMENTS + 8 * index)


def _upper_half(index: int) -> Step:
    return Step(LOAD, ARGUMENTS + 8 * index + 4)


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
