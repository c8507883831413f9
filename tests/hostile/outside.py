"""Runs one hostile case without a sandbox, on a throwaway machine: ``python -m tests.hostile.outside CASE FOLDER``.

To be started by ``unshare`` as root of its own namespaces. It sees this machine's files below an overlay in memory, and has no other
processes and no other network. A stand-in for the service runs there, with throwaway secrets. What the case printed, delivered and did
is printed.
"""

from __future__ import annotations

import fcntl
import io
import os
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.case import Target
from tests.hostile.corpus import CASES

SECRET, NEIGHBOURS = "a-throwaway-secret", "a-throwaway-note-of-the-neighbour"
PORT, OTHER_PORT = 5454, 5455
ADDRESSES = ("127.0.0.1", "10.0.0.1", "169.254.169.254")
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8916, 0x8914, 0x41
MOUNT = """
set -e
mount -t tmpfs -o size=1200M,mode=755 machine "$1"; mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" machine "$1/root"
mount --rbind /dev "$1/root/dev"; mount -t proc proc "$1/root/proc"; mount -t tmpfs shm "$1/root/dev/shm"
cd "$1/root"; pivot_root . mnt; umount -l /mnt
"""
# Listens where the service and other servers would that a build must not reach, and has secrets in its environment.
SERVICE = """
import os, selectors, socket, sys
selector = selectors.DefaultSelector()
data, port, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
inet, inet6, unix = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
places = [(inet, ("127.0.0.1", port)), (inet, ("127.0.0.1", other)), (inet, ("10.0.0.1", 80)), (inet, ("169.254.169.254", 80)),
          (inet6, ("::1", port)), (unix, f"{data}/queue/valkey.sock"), (unix, f"\\0jobsite-{port}")]
for family, place in places:
    listening = socket.socket(family)
    listening.bind(place)
    listening.listen()
    selector.register(listening, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _events in selector.select():
        client, _address = key.fileobj.accept()
        client.recv(100)  # closing with unread data would break the sender's pipe
        client.sendall(b"hello")
        client.close()
"""
SECONDS = 90


def main(name: str, folder: str) -> str:
    case = next(case for case in CASES if case.name == name)
    assert case.control
    subprocess.run(["sh", "-c", MOUNT, "mount", folder], check=True)
    os.chdir("/")
    _network()
    base = Path("/srv/throwaway")
    workspace = _make_files(base)
    environment = {"PATH": os.environ["PATH"], "INTERNAL_SERVICE_SECRET": SECRET, "LC_ALL": "C.UTF-8"}
    with _service(base / "data", environment) as service:
        target = Target(
            base / "data", Path(__file__).parents[2], PORT, service.pid, OTHER_PORT, str(base / "private.txt"), service.pid
        )
        archive = (case.control.instead or case.archive)(target)
        try:
            found = [_run_build(archive, workspace, environment), *_delivered(workspace / "r-main"), *_effects(service)]
        finally:
            service.kill()
    return "\n".join(found)


def _network() -> None:
    """The loopback, which also has other machines' addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, address in enumerate(ADDRESSES):
            name = f"lo:{number}" if number else "lo"
            family = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16s16s", name.encode(), family))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))


def _make_files(base: Path) -> Path:
    """Make the files of a service and its machine; returns a workspace beside them."""
    files = {
        base / "data" / "jobsite.sqlite3": "SQLite format 3\0",
        base / "data" / "queue" / "password": SECRET,
        base / "data" / "workspaces" / "other" / "repository" / "private.txt": NEIGHBOURS,
        base / "private.txt": NEIGHBOURS,
        Path("/etc/shadow"): "root:*:19000:0:99999:7:::\n",
        Path("/etc/passwd-"): "root:x:0:0:root:/root:/bin/sh\n",
        Path("/etc/hosts"): "10.0.0.1 example.org\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    workspace = base / "data" / "workspaces" / "own" / "repository"
    workspace.mkdir(parents=True)
    return workspace


def _service(data_dir: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-c", SERVICE, str(data_dir), str(PORT), str(OTHER_PORT)]
    service = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert service.stdout is not None
    assert service.stdout.readline() == b"ready\n"
    return service


def _run_build(archive: bytes, workspace: Path, environment: dict[str, str]) -> str:
    """What the build's script printed. It inherits a descriptor that was left open."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(workspace)
    left_open = os.open(workspace.parents[1] / "other" / "repository" / "private.txt", os.O_RDONLY)
    with Path("/srv/output").open("wb") as output:
        build = subprocess.Popen(
            ["sh", "make.sh"], cwd=workspace / "r-main", env=environment, stdout=output, stderr=output, pass_fds=[left_open]
        )
        build.wait(SECONDS)
    with Path("/srv/output").open("rb") as printed:
        return printed.read(10_000_000).decode(errors="replace")


def _delivered(folder: Path) -> Iterator[str]:
    """What would have been delivered."""
    for path in (folder / "_build" / "site" / "content" / "index.json", *sorted((folder / "exports").glob("*"))):
        if path.is_file():
            with path.open("rb") as file:
                yield file.read(100_000).decode(errors="replace")


def _answers() -> bool:
    """Whether the service answers."""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=SECONDS) as asking:
            asking.sendall(b"?")
            return asking.recv(9) == b"hello"
    except OSError:
        return False


def _effects(service: subprocess.Popen[bytes]) -> Iterator[str]:
    """What the case left behind, and whether the service survived."""
    if not _answers():  # it was killed, and ends soon if it has not yet
        service.wait(SECONDS)
        yield "REACHED the service, which has ended"
    memory = Path("/proc/sysvipc/shm")  # a case may have unmounted /proc
    if memory.exists() and len(memory.read_text().splitlines()) > 1:
        yield "LEFT shared memory"
    for path in Path("/proc").glob("[0-9]*"):
        if int(path.name) not in (1, os.getpid(), service.pid):
            command = path.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            yield f"LEFT {command}" if command else "LEFT nothing but a zombie"


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]))
