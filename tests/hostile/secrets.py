"""Attempts to get what belongs to others: files, memory, processes, rights, and servers on this machine and near it."""

from __future__ import annotations

from tests.hostile.case import Case, Control, loot, python

MEMORY = """
try:
    start = int(open("/proc/{pid}/maps").readline().split("-")[0], 16)
    memory = open("/proc/{pid}/mem", "rb")
    memory.seek(start)
    print("REACHED memory", memory.read(4))
except OSError as error:
    print(error)
"""
PTRACE = """
import ctypes
ATTACH, DETACH, libc = 16, 17, ctypes.CDLL(None)
for pid in ({pid}, {init}):
    if libc.ptrace(ATTACH, pid, 0, 0) == 0:
        print("REACHED ptrace")
        libc.waitpid(pid, None, 0)
        libc.ptrace(DETACH, pid, 0, 0)
"""
NEW_DEVICE = """
import os
for name, mode, device in (("disk", 0o60666, (254, 0)), ("memory", 0o20666, (1, 1)), ("zero", 0o20666, (1, 5))):
    try:
        os.mknod(name, mode, os.makedev(*device))
        print("REACHED a device", name, len(open(name, "rb").read(9)))
    except OSError as error:
        print("no", error)
"""
USER_NAMESPACES = """
import ctypes, os, platform
libc, new, child = ctypes.CDLL(None), 0x10000000, 17
def entered(how):
    if os.stat("/proc/self/ns/user").st_ino != before:
        print("REACHED a user namespace by", how, flush=True)
    os._exit(0)
before = os.stat("/proc/self/ns/user").st_ino
if os.fork() == 0:
    libc.unshare(new)
    entered("unshare")
os.wait()
if libc.syscall({"x86_64": 56, "aarch64": 220}[platform.machine()], *map(ctypes.c_long, (new | child, 0, 0, 0, 0))) == 0:
    entered("clone")
arguments = (ctypes.c_uint64 * 11)(new, 0, 0, 0, child)
if libc.syscall(435, arguments, ctypes.c_long(88)) == 0:
    entered("clone3")
"""
CALLS = """
import ctypes, platform, socket
libc = ctypes.CDLL(None)
add_key, bpf = {"x86_64": (248, 321), "aarch64": (217, 280)}[platform.machine()]
own, ring = ctypes.c_long(-2), ctypes.create_string_buffer(120)
if libc.syscall(add_key, b"user", b"name", b"value", ctypes.c_long(5), own) > 0:
    print("REACHED a key")
if libc.syscall(425, ctypes.c_long(8), ring) >= 0:
    print("REACHED io_uring")
if libc.syscall(bpf, ctypes.c_long(0), (ctypes.c_uint32 * 32)(1, 4, 8, 1), ctypes.c_long(48)) >= 0:
    print("REACHED bpf")
try:
    print("REACHED sockets of virtual machines", socket.socket(40, socket.SOCK_STREAM))
except OSError as error:
    print(error)
"""
DESCRIPTORS = """
import os
for number in range(3, 256):
    try:
        print("REACHED descriptor", number, os.read(number, 4096))
    except OSError:
        pass
"""
SECRETS = [
    Case(
        "environment",
        loot("loot env; loot cat /proc/self/environ; loot cat /proc/1/environ; loot sh -c 'cat /proc/*/environ'"),
        tries="Prints its environment and that of every process it can see.",
        control=Control(("INTERNAL_SERVICE_SECRET=a-throwaway-secret",)),
    ),
    Case(
        "processes",
        loot("loot ls /proc; loot sh -c 'cat /proc/*/cmdline'; loot cat /proc/{pid}/environ /proc/{pid}/maps"),
        tries="Lists the machine's processes and their arguments, and a worker's environment and memory map.",
        control=Control(("INTERNAL_SERVICE_SECRET=a-throwaway-secret",)),
    ),
    Case(
        "database",
        loot("loot head -c 15 {data_dir}/jobsite.sqlite3; loot ls -la {data_dir}; loot timeout 12 find / -name '*.sqlite3'"),
        tries="Reads the service's database, and looks for others.",
        control=Control(("SQLite format 3",)),
    ),
    Case(
        "settings",
        loot(
            "loot grep -m1 MIDDLEWARE {base_dir}/jobsite/settings.py; loot ls -la {base_dir}; loot cat {data_dir}/queue/password"
        ),
        tries="Reads the service's settings and the password of its queue store.",
        control=Control(("MIDDLEWARE = [", "a-throwaway-secret")),
    ),
    Case(
        "neighbour",
        loot("loot ls {data_dir}/workspaces; loot cat {data_dir}/workspaces/*/repository/private.txt {neighbour}"),
        tries="Reads files in the workspaces of other builds.",
        control=Control(("a-throwaway-note-of-the-neighbour",)),
    ),
    Case(
        "accounts",
        loot("loot cat /etc/shadow /etc/passwd- /root/.ssh/id_rsa /root/.bash_history; loot ls -la /root /home /var /run"),
        tries="Reads the machine's accounts and its users' keys.",
        control=Control(("root:*:19000", "root:x:0:0")),
    ),
    Case(
        "mounts",
        loot(
            "loot cat /proc/self/mountinfo; loot sh -c 'mount --bind / /mnt && echo REACHED mount'\n"
            "loot sh -c 'umount /proc && echo REACHED umount'; loot mount -o remount,rw /usr"
        ),
        tries="Mounts the machine's whole file system, and removes mounts.",
        control=Control(("REACHED mount", "REACHED umount")),
    ),
    Case(
        "descriptors",
        python(DESCRIPTORS),
        tries="Reads every file that the service may have left open.",
        control=Control(("REACHED descriptor", "a-throwaway-note-of-the-neighbour")),
    ),
    Case(
        "memory-of-the-worker",
        python(MEMORY),
        tries="Reads the memory of a worker.",
        control=Control(("REACHED memory b'\\x7fELF'",)),
    ),
    Case(
        "ptrace",
        python(PTRACE),
        tries="Attaches to a worker as a debugger.",
        control=Control(("REACHED ptrace",)),
    ),
    Case(
        "setuid",
        loot(
            "loot su -c id; loot sudo -n id; loot passwd -S root; cp /bin/sh s; chmod 4755 s; loot ./s -p -c 'id; cat /etc/shadow'"
        ),
        tries="Tries to become root with setuid programs.",
        control=Control(("uid=0(", "root:*:19000")),
    ),
    Case(
        "namespaces",
        loot(
            "loot unshare -Urm head -c 15 {data_dir}/jobsite.sqlite3; loot unshare -Ur sh -c 'mount -t tmpfs x /usr; id'; loot chroot / id"
        ),
        tries="Becomes root of its own namespaces, to reach the files outside the sandbox.",
        control=Control(("SQLite format 3", "uid=0(")),
    ),
    Case(
        "user-namespaces",
        python(USER_NAMESPACES),
        tries="Makes a user namespace with each system call that can. In it, it would be root for large parts of the kernel.",
        control=Control(tuple(f"REACHED a user namespace by {call}" for call in ("unshare", "clone", "clone3"))),
    ),
    Case(
        "kernel-calls",
        python(CALLS),
        tries="Uses parts of the kernel with frequent vulnerabilities: keys, io_uring, bpf, virtual machines' sockets.",
        control=Control(("REACHED a key",)),  # the others are not in every kernel
    ),
    Case(
        "new-device",
        python(NEW_DEVICE),
        tries="Makes device files for the machine's disk and memory, and reads them.",
        control=Control(("REACHED a device zero 9",), as_root=True),
    ),
    Case(
        "kernel",
        loot(
            "loot sh -c 'dmesg > kept && grep -q . kept && echo REACHED the kernel log'; loot head -c 100 /proc/kcore\n"
            "loot sh -c 'echo b > /proc/sysrq-trigger; echo 1 > /proc/sys/kernel/sysrq'"
        ),
        tries="Reads the kernel's messages and memory, and restarts the machine.",
        # The restart must not be tried: a throwaway machine has this machine's kernel.
        control=Control(
            ("REACHED the kernel log",),
            loot("loot sh -c 'dmesg > kept && grep -q . kept && echo REACHED the kernel log'"),
            as_root=True,
        ),
    ),
]

CONNECT = """
import socket
inet, inet6, unix = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
for what, family, address in [("the web server", inet, ("127.0.0.1", {port})), ("a port", inet, ("127.0.0.1", {listening})),
                              ("a private address", inet, ("10.0.0.1", 80)), ("metadata", inet, ("169.254.169.254", 80)),
                              ("IPv6", inet6, ("::1", {port})), ("the queue store", unix, "{data_dir}/queue/valkey.sock"),
                              ("an abstract socket", unix, "\\0jobsite-{port}")]:
    with socket.socket(family) as s:
        s.settimeout(2)
        try:
            s.connect(address)
            s.sendall(b"GET /readyz HTTP/1.0\\r\\n\\r\\n")
            print("REACHED", what, s.recv(100))
        except OSError as error:
            print("no", error)
"""
FAST_OPEN = """
import socket
inet, inet6, flag, request = socket.AF_INET, socket.AF_INET6, socket.MSG_FASTOPEN, b"GET /readyz HTTP/1.0\\r\\n\\r\\n"
for what, family, address in [("the web server", inet, ("127.0.0.1", {port})), ("a port", inet, ("127.0.0.1", {listening})),
                              ("IPv6", inet6, ("::1", {port}))]:
    for send in (lambda s: s.sendto(request, flag, address), lambda s: s.sendmsg([request], (), flag, address)):
        with socket.socket(family) as s:
            try:
                send(s)
                print("REACHED", what, s.getpeername())
            except OSError as error:
                print("no", error)
"""
RAW = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    print("REACHED raw sockets")
except OSError as error:
    print(error)
"""
NAMES = """
import socket
try:
    print("REACHED a name", socket.getaddrinfo("example.org", 80))
except OSError as error:
    print(error)
"""
NETWORK = [
    Case(
        "queue-store-and-loopback",
        python(CONNECT),
        tries="Connects to the queue store and other servers on this machine, to a private address and to the cloud's metadata.",
        control=Control(
            tuple(
                f"REACHED {what} b'hello'"
                for what in (
                    "the web server",
                    "a port",
                    "a private address",
                    "metadata",
                    "IPv6",
                    "the queue store",
                    "an abstract socket",
                )
            )
        ),
    ),
    Case(
        "sent-without-connecting",
        python(FAST_OPEN),
        tries="Sends data to the web server and other servers on this machine without connecting first (TCP fast open).",
        control=Control(("REACHED the web server", "REACHED a port", "REACHED IPv6")),
    ),
    Case(
        "raw-sockets",
        python(RAW),
        tries="Opens a raw socket, to forge packets.",
        control=Control(("REACHED raw sockets",)),
    ),
    Case(
        "names",
        python(NAMES),
        tries="Resolves a name, by which data could be smuggled out.",
        control=Control(("REACHED a name",)),
    ),
]
