"""The numbers of the further system calls that the second filter names."""

from __future__ import annotations

from builds.engine.sandbox import syscall_numbers
from builds.engine.sandbox.syscall_numbers import Machine

# Since Linux 5.1 a new system call has the same number everywhere.
_SHARED = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_X86_64 = {
    **{"shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semop": 65, "semctl": 66, "semtimedop": 220},
    **{"msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240, "mq_unlink": 241, "fanotify_init": 300},
    **{"inotify_init": 253, "inotify_init1": 294, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280},
    **{"chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "chmod": 90, "fchmod": 91, "fchmodat": 268},
    **{"setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199},
    **{"prlimit64": 302, "sched_setparam": 142, "sched_setscheduler": 144, "sched_setattr": 314, "sched_setaffinity": 203},
    **{"setpriority": 141, "ioprio_set": 251, "listen": 50, "socketpair": 53, "connect": 42, "sendto": 44, "sendmsg": 46},
    **{"sendmmsg": 307, "seccomp": 317},
}
_AARCH64 = {
    **{"shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semop": 193, "semctl": 191, "semtimedop": 192},
    **{"msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180, "mq_unlink": 181, "fanotify_init": 262},
    **{"inotify_init1": 26, "utimensat": 88, "fchown": 55, "fchownat": 54, "fchmod": 52, "fchmodat": 53},
    **{"setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16},
    **{"prlimit64": 261, "sched_setparam": 118, "sched_setscheduler": 119, "sched_setattr": 274, "sched_setaffinity": 122},
    **{"setpriority": 140, "ioprio_set": 30, "listen": 201, "socketpair": 199, "connect": 203, "sendto": 206, "sendmsg": 211},
    **{"sendmmsg": 269, "seccomp": 277},
}

MACHINES = {
    name: Machine(machine.architecture, {**machine.calls, **_SHARED, **more})
    for name, more in (("x86_64", _X86_64), ("aarch64", _AARCH64))
    for machine in [syscall_numbers.MACHINES[name]]
}
