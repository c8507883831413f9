"""Cases that want to change what is not theirs: files, processes, and memory that is all programs'."""

from __future__ import annotations

from tests.hostile.case import Case, Control, python

SHARED = 1_597_463_007  # the key of what is left in shared memory
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
for path in ("{data_dir}/jobsite.sqlite3", "{data_dir}/queue"):  # folders that lead to the workspace are the sandbox's own
    if libc.inotify_add_watch(libc.inotify_init(), os.fsencode(path), 0xFFF) > 0:
        print("REACHED a watch on", path)
"""
HARM = [
    Case(
        "rights-of-files",
        python(RIGHTS),
        tries="Takes away the rights to the service's files, and changes their times, attributes and owner.",
        control=Control(tuple(f"REACHED the {what} of" for what in ("rights", "times", "owner"))),
    ),
    Case(
        "lowered-worker",
        python(LOWERED),
        tries="Lets a worker open no more files, and gives it the least of the processors.",
        control=Control(tuple(f"REACHED the {what}" for what in ("limits", "priority", "scheduling", "processors"))),
    ),
    Case(
        "watched-folders",
        python(WATCHED),
        tries="Has itself told when the service's database and folders are written to.",
        control=Control(("REACHED a watch on",)),
    ),
    Case(
        "shared-memory",
        python(LEFT),
        tries="Leaves System V's shared memory, messages and locks behind, which outlast every program.",
        control=Control(("LEFT shared memory",)),
    ),
]
