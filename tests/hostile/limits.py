"""Builds that use too much memory, disk, time or output, start too many processes, or do not end."""

from __future__ import annotations

from tests.hostile.case import Case, Cause, Control, loot, python, script

MANY_PROCESSES = Control(
    ("REACHED 200 processes",),
    script("n=0; while [ $n -lt 200 ]; do sleep 10 & n=$((n + 1)); done; echo REACHED $n processes"),
)
FULL = "loot sh -c 'for at in /tmp /dev/shm; do head -c {size} /dev/zero > $at/x && echo REACHED $at; done; echo > /x && echo REACHED /'"
HOG = """for i in 1 2 3 4; do python3 -c 'a = b"x" * 100_000_000; print("REACHED 100 MB")' & done; wait"""
MUCH_MEMORY = Control(("REACHED 100 MB",), script(HOG))
# Built from the bottom up, because with Landlock each step takes longer the deeper it is.
DEEP_FOLDERS = """
import os
for number in range(100):
    os.makedirs("new" + "/d" * 99)
    if number:
        os.rename("deep", "new" + "/d" * 99 + "/d")
    os.rename("new", "deep")
"""
HIDDEN_FILES = """
import ctypes, os, socket, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
one, other = socket.socketpair()
for number in range(5):
    file = os.open("big", os.O_RDWR | os.O_CREAT)
    os.unlink("big")
    if number % 2:
        place = libc.mmap(None, 4096, 3, 1, file, 0)
    else:
        socket.send_fds(one, [b"x"], [file])
    for megabyte in range(150):
        os.write(file, bytes(1 << 20))
    os.close(file)
time.sleep(20)
"""
LIMITS = [
    Case(
        "fork-bomb",
        script("b() { b | b & }; b; sleep 3; exit 1"),
        "failed",
        "limit-hit",
        "manuscript",
        "processes",
        tries="Starts processes that start processes.",
        control=MANY_PROCESSES,
    ),
    Case(
        "fork-bomb-that-leaves",
        script("for i in $(seq 1000); do setsid sleep 600 & done; wait"),
        "failed",
        "limit-hit",
        "manuscript",
        "processes",
        tries="Starts a thousand processes, each in its own session.",
        control=MANY_PROCESSES,
    ),
    Case(
        "memory-hog",
        script("exec python3 -c 'a = []\nwhile True: a.append(bytearray(50_000_000))'"),
        "failed",
        "limit-hit",
        "manuscript",
        "memory limit of 1.5 GB",
        tries="Uses ever more memory in one process.",
        control=MUCH_MEMORY,
    ),
    Case(
        "memory-hogs",
        script("for i in 1 2 3 4 5 6; do python3 -c 'import time; a = bytearray(400_000_000); time.sleep(60)' & done; wait"),
        "failed",
        "limit-hit",
        "manuscript",
        "memory limit of 1.5 GB",
        tries="Uses too much memory in many processes, each of which uses little.",
        control=MUCH_MEMORY,
    ),
    Case(
        "memory-hogs-that-leave",
        script(
            "for i in 1 2 3 4 5 6; do (setsid env -i python3 -c 'import time; a = bytearray(400_000_000); time.sleep(60)' &) ; done\n"
            "sleep 60"
        ),
        "failed",
        "limit-hit",
        "manuscript",
        "memory limit of 1.5 GB",
        tries="Does the same in processes that have left its session and environment, and whose parents have ended.",
        control=MUCH_MEMORY,
    ),
    Case(
        "killed-by-itself",
        script("kill -9 $$"),
        "failed",
        "limit-hit",
        "manuscript",
        "memory",
        grouped=Cause("build-failed", "manuscript", "killed by one of its own programs"),
        tries="Kills itself, as the kernel kills a process that uses too much memory.",
    ),
    Case(
        "hundred-gigabytes",
        script("head -c 100G /dev/zero > big; exit 1"),
        "failed",
        "limit-hit",
        "manuscript",
        "file larger than the limit of 200 MB",
        tries="Writes a file of 100 GB.",
        control=Control(("REACHED 250 MB",), script("head -c 250M /dev/zero > big && echo REACHED 250 MB")),
    ),
    Case(
        "many-large-files",
        script("for i in $(seq 100); do head -c 50M /dev/zero > big$i; sleep 0.3; done; exit 1"),
        "failed",
        "limit-hit",
        "manuscript",
        "disk limit of 300 MB",
        tries="Fills the disk with files, none of them too large.",
        control=Control(
            ("REACHED 350 MB",),
            script("for i in $(seq 7); do head -c 50M /dev/zero > big$i; done; [ -s big7 ] && echo REACHED 350 MB"),
        ),
    ),
    Case(
        "hidden-files",
        script(f"cat > hide.py <<'CODE'\n{HIDDEN_FILES}\nCODE\nexec python3 -I hide.py"),
        "failed",
        "limit-hit",
        "manuscript",
        "disk limit of 300 MB",
        tries="Fills the disk with files that have no name and are not open: they are mapped, or on their way through a socket.",
    ),
    Case(
        "million-files",
        script("mkdir m; cd m; i=0; while :; do seq $i $((i+2000)) | xargs touch; i=$((i+2000)); sleep 0.1; done"),
        "failed",
        "limit-hit",
        "manuscript",
        "20000 files",
        tries="Makes ever more files.",
        control=Control(
            ("REACHED 21000 files",),
            script("mkdir m; (cd m; seq 21000 | xargs touch); echo REACHED $(ls m | wc -l) files"),
        ),
    ),
    Case(
        "full-tmp",
        loot(FULL.replace("{size}", "3G")),
        tries="Fills the folders for temporary files, which are in memory, and writes to the root folder.",
        control=Control(("REACHED /tmp", "REACHED /dev/shm", "REACHED /\n"), loot(FULL.replace("{size}", "300M"))),
    ),
    Case(
        "output-flood",
        script("yes"),
        "failed",
        "limit-hit",
        "manuscript",
        "output limit of 1 MB",
        tries="Prints lines for ever.",
        control=Control(("y\ny\n", "REACHED the end"), script("yes | head -c 2000000; echo REACHED the end")),
    ),
    Case(
        "output-without-newlines",
        script("cat /dev/zero | tr '\\0' x"),
        "failed",
        "limit-hit",
        "manuscript",
        "output limit of 1 MB",
        tries="Prints one endless line.",
        control=Control(
            ("x" * 1_000_000, "REACHED the end"), script("head -c 2000000 /dev/zero | tr '\\0' x; echo REACHED the end")
        ),
    ),
    Case(
        "endless",
        script("trap '' TERM INT HUP; while :; do sleep 0.2; done"),
        "failed",
        "build-timeout",
        "manuscript",
        "exceeded its time limit",
        tries="Runs for ever, and ignores requests to end.",
        control=Control(("REACHED what comes after",), script("trap '' TERM INT HUP; kill $$; echo REACHED what comes after")),
    ),
    Case(
        "daemons",
        script(
            "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &\n"
            'python3 -c \'import os\nif os.fork() == 0: os.setsid(); os.closerange(0, 99); os.execl("/bin/sleep", "sleep", "599")\''
        ),
        tries="Leaves processes behind that have left its session and ignore requests to end.",
        control=Control(("LEFT sh -c trap", "LEFT sleep 599")),
    ),
    Case(
        "signal-storm",
        script("(kill -9 -1; true); for pid in 1 {pid}; do kill -TERM $pid; kill -STOP $pid; kill -KILL $pid; done; true"),
        "failed",
        "limit-hit",
        "manuscript",
        "killed",
        grouped=Cause("build-failed", "manuscript"),
        tries="Sends signals to every process it can, and to a worker.",
        control=Control(("REACHED the service, which has ended",)),
    ),
    Case(
        "stops-itself",
        script("kill -STOP $$"),
        "failed",
        "build-timeout",
        "manuscript",
        "exceeded its time limit",
        tries="Stops itself, and so never ends.",
    ),
    Case(
        "deep-folders",
        python(DEEP_FOLDERS),
        tries="Makes 10,000 nested folders, so that removing them fails.",
        uncontrolled="It is allowed to. The test is that its workspace is removed.",
    ),
    Case(
        "no-rights",
        script("mkdir -p n/m; touch n/m/f; chmod 000 n/m n; chmod 000 myst.yml"),
        tries="Removes all rights from its files, so that removing them fails.",
        uncontrolled="It is allowed to. The test is that its workspace is removed.",
    ),
]
