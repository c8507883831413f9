"""The numbers of the system calls that the seccomp filter names, for each architecture that Jobsite knows."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """An architecture, by the kernel's number for it (AUDIT_ARCH_), and the numbers of its system calls by name."""

    architecture: int
    calls: dict[str, int]


# Since Linux 5.1 a new system call has the same number everywhere.
_SHARED = {
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

MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        {
            **{"ioctl": 16, "socket": 41, "clone": 56, "fcntl": 72, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166},
            **{"syslog": 103, "pivot_root": 155, "add_key": 248, "request_key": 249, "keyctl": 250, "bpf": 321},
            **{"perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175},
            **{"finit_module": 313, "delete_module": 176, "open_by_handle_at": 304, "shmget": 29},
            **_SHARED,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        {
            **{"ioctl": 29, "socket": 198, "clone": 220, "fcntl": 25, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39},
            **{"syslog": 116, "pivot_root": 41, "add_key": 217, "request_key": 218, "keyctl": 219, "bpf": 280},
            **{"perf_event_open": 241, "userfaultfd": 282, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105},
            **{"finit_module": 273, "delete_module": 106, "open_by_handle_at": 265, "shmget": 194},
            **_SHARED,
        },
    ),
}


def machine_name() -> str:
    """The architecture that this Python's programs run on, as MACHINES names it."""
    return platform.machine() if sys.maxsize > 1 << 32 else f"32-bit {platform.machine()}"
