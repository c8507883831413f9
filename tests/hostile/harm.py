"""Attempts to change what belongs to others: files, processes, and memory that all programs share."""

from __future__ import annotations

from tests.hostile.case import Case, Control, python

SHARED = 1_597_463_007  # the key of what the case leaves in shared memory
RIGHTS = """
import os
acts = {"rights": lambda path: os.chmod(path, 0), "times": lambda path: os.utime(path, (1, 1)),
        "attributes": lambda path: os.setxattr(path, "user.a", b"a"), "owner": lambda path: os.chown(path, os.getuid(), os.getgid())}
for path in ("{data_dir}", "{data_dir}/jobsite.sqlite3", "{base_dir}/manage.py"):
    for what, act in acts.items():
        try:
            act(path)
            print("REACHED the", what, "of", path)
        except OSError as error:
            print(error)
"""
LOWERED = """
import os, resource
for what, act in (("limits", lambda: resource.prlimit({pid}, resource.RLIMIT_NOFILE, (1, 1))),
                  ("priority", lambda: os.setpriority(os.PRIO_PROCESS, {pid}, 19)),
                  ("scheduling", lambda: os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))),
                  ("processors", lambda: os.sched_setaffinity({pid}, {0}))):
    try:
        act()
        print("REACHED the", what)
    except OSError as error:
        print(error)
"""
LEFT = f"""
import ctypes
libc = ctypes.CDLL(None)
print(libc.shmget({SHARED}, 1 << 20, 0o1666), libc.msgget({SHARED}, 0o1666), libc.semget({SHARED}, 1, 0o1666))
"""
WATCHED = """
import ctypes, os
libc = ctypes.CDLL(None)
for path in ("{data_dir}/jobsite.sqlite3", "{data_dir}/queue"):  # the folders above the workspace are the sandbox's own
    if libc.inotify_add_watch(libc.inotify_init(), os.fsencode(path), 0xFFF) > 0:
        print("REACHED a watch on", path)
"""
HARM = [
    Case(
        "rights-of-files",
        python(RIGHTS),
        tries="Removes all rights to the service's files, and changes their times, attributes and owner.",
        control=Control(tuple(f"REACHED the {what} of" for what in ("rights", "times", "owner"))),
    ),
    Case(
        "lowered-worker",
        python(LOWERED),
        tries="Keeps a worker from opening files, and gives it the lowest share of the processors.",
        control=Control(tuple(f"REACHED the {what}" for what in ("limits", "priority", "scheduling", "processors"))),
    ),
    Case(
        "watched-folders",
        python(WATCHED),
        tries="Watches for writes to the service's database and folders.",
        control=Control(("REACHED a watch on",)),
    ),
    Case(
        "shared-memory",
        python(LEFT),
        tries="Leaves System V shared memory, messages and locks behind, which outlive every program.",
        control=Control(("LEFT shared memory",)),
    ),
]
