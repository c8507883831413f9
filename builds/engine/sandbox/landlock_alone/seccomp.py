"""The second seccomp filter, which does what namespaces do under bubblewrap.

No build may change another process's priority or limits, leave messages in memory that all programs share, or get around Landlock's
rules for sockets. Where only a program can decide, the kernel asks the keeper (tools/keeper.py).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from functools import cache

from builds.engine.sandbox.bpf import (
    ALLOW,
    AND,
    ANY_BIT,
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
from builds.engine.sandbox.landlock_alone.syscall_numbers import MACHINES
from builds.engine.sandbox.seccomp import NETLINK

# System V's shared memory, queues and locks belong to the machine and outlive programs. inotify reports writes in folders that can't
# be read.
ABSENT = (
    *("shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl"),
    *("mq_open", "mq_unlink", "inotify_init", "inotify_init1", "fanotify_init", "utime", "utimes", "futimesat", "file_setattr"),
)
# Landlock does not restrict changes of a file's owner and attributes (access lists among them), or listening on an unbound socket.
FORBIDDEN = ("chown", "fchown", "lchown", "fchownat", "listen")
UNSUPPORTED = (
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "setxattrat", "removexattrat"),
)
# The keeper decides these, except for the times of a file that is already open: unpacking an archive would be slow.
ASKED = ("chmod", "fchmod", "fchmodat", "fchmodat2", "utimensat", "connect")
# The first argument is a process; 0 is the caller.
ON_A_PROCESS = ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setattr", "sched_setaffinity")
PRIO_PROCESS, IOPRIO_WHO_PROCESS = 0, 1
# This flag sends data without a connect() that Landlock could check. The values are the positions of the flags argument.
MSG_FASTOPEN = 0x20000000
SENDS = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}
SOCK_TYPE = 0xF
CONNECTED = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)  # a pair of datagram sockets can still send to others


@cache
def build_filter(name: str) -> bytes:
    """The second filter for the machine of that name. It allows TCP sockets, netlink sockets and socket pairs."""
    calls = MACHINES[name].calls
    return assemble(
        [
            *check_architecture(MACHINES[name].architecture),
            *jump_if_any(_numbers(name, FORBIDDEN), "forbidden"),
            *jump_if_any(_numbers(name, ABSENT), "absent"),
            *jump_if_any(_numbers(name, UNSUPPORTED), "unsupported"),
            Step(EQUAL, calls["utimensat"], "utimensat"),
            *jump_if_any(_numbers(name, ASKED), "asked"),
            *jump_if_any(_numbers(name, ON_A_PROCESS), "first is 0"),
            *(Step(EQUAL, calls[call], call) for call in ("setpriority", "ioprio_set", "socket", "socketpair", *SENDS)),
            Step(RETURN, ALLOW),
            "utimensat",
            load_argument(1),
            Step(EQUAL, 0, no="asked"),
            load_argument(1, upper_half=True),
            Step(EQUAL, 0, "allowed", "asked"),
            *_process_rules(),
            *_socket_rules(),
            *verdicts(),
        ]
    )


def _process_rules() -> list[Step | str]:
    """Priorities and limits: only the caller's own."""
    return [
        "setpriority",
        load_argument(0),
        Step(EQUAL, PRIO_PROCESS, "second is 0", "forbidden"),
        "ioprio_set",
        load_argument(0),
        Step(EQUAL, IOPRIO_WHO_PROCESS, "second is 0", "forbidden"),
        "second is 0",
        load_argument(1),
        Step(EQUAL, 0, "allowed", "forbidden"),
        "first is 0",
        load_argument(0),
        Step(EQUAL, 0, "allowed", "forbidden"),
    ]


def _socket_rules() -> list[Step | str]:
    return [
        *(
            step
            for call, place in SENDS.items()
            for step in (call, load_argument(place), Step(ANY_BIT, MSG_FASTOPEN, "unsupported", "allowed"))
        ),
        "socket",
        load_argument(0),
        Step(EQUAL, NETLINK, "allowed"),
        *jump_if_any((socket.AF_INET, socket.AF_INET6), "type"),
        Step(RETURN, REFUSE | errno.EAFNOSUPPORT),
        "type",
        load_argument(1),
        Step(AND, SOCK_TYPE),
        Step(EQUAL, socket.SOCK_STREAM, "allowed"),
        Step(RETURN, REFUSE | errno.EACCES),
        "socketpair",
        load_argument(1),
        Step(AND, SOCK_TYPE),
        *jump_if_any(CONNECTED, "allowed"),
        Step(RETURN, REFUSE | errno.ESOCKTNOSUPPORT),
    ]


def asked_calls(name: str) -> dict[int, str]:
    """The calls that the keeper decides, by their numbers."""
    return {number: call for call, number in MACHINES[name].calls.items() if call in ASKED}


def _numbers(name: str, calls: Iterable[str]) -> list[int]:
    """The numbers of those ``calls`` that the machine has: aarch64 lacks the older ones."""
    return [MACHINES[name].calls[call] for call in calls if call in MACHINES[name].calls]
