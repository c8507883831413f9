"""Manuscripts that attack. Each is a repository whose build is a script; what the script could take, it tries to have delivered."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import quick

COMMIT = b"5" * 40
KIND = "Article"


@dataclass(frozen=True)
class Target:
    """What an attacker may know of the service: everything but its secrets."""

    data_dir: Path
    base_dir: Path
    port: int
    pid: int
    listening: int
    neighbour: str


@dataclass(frozen=True)
class Case:
    """A manuscript and its end: the state, and, for a failure, the cause's code, whose fault it is and words of its sentence."""

    name: str
    archive: Callable[[Target], bytes]
    state: str = "succeeded"
    code: str = ""
    fault: str = ""
    words: str = ""
    exports: tuple[dict[str, str], ...] = ({"format": "meca", "output": "exports/article.meca.zip"},)


LOOT = """
loot() { "$@" >> loot.txt 2>&1; true; }
%s
python3 -I - <<'END'
import json
page = {"kind": "Article", "loot": open("loot.txt", errors="replace").read()[-100_000:]}
json.dump(page, open("ready/index.json", "w"))
END
cat loot.txt
"""


def script(text: str) -> Callable[[Target], bytes]:
    """A repository whose build runs ``text`` first, and then makes its exports. ``{…}`` is filled in from the target."""

    def archive(target: Target) -> bytes:
        before = text
        for name in ("data_dir", "base_dir", "port", "pid", "listening", "neighbour"):
            before = before.replace("{" + name + "}", str(getattr(target, name)))
        files = quick.repository(before)
        return zipped(
            (f"r-main/{name}", content.encode() if isinstance(content, str) else content) for name, content in files.items()
        )

    return archive


def loot(text: str) -> Callable[[Target], bytes]:
    return script("touch loot.txt\n" + LOOT % text)


def python(code: str) -> Callable[[Target], bytes]:
    return loot(f"cat > attack.py <<'CODE'\n{code}\nCODE\nloot python3 -I attack.py")


def export(code: str) -> Callable[[Target], bytes]:
    """The MECA is what the Python ``code`` writes to ``ready/article.zip``."""
    return script(f"cat > make.py <<'CODE'\nimport os, zipfile\n{code}\nCODE\npython3 -I make.py")


def instead(command: str, *, before: str = "true") -> Callable[[Target], bytes]:
    """In the place of the MECA is what ``command`` makes there; the rest is as it should be."""
    return script(f'{before}\ncp() {{ case $2 in exports/*) {command} "$2";; *) command cp "$@";; esac; }}')


def packed(body: str) -> Callable[[Target], bytes]:
    """The MECA holds a manifest that is what the Python ``body`` makes of ``m``."""
    return export(f"{body}\nwith zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr('manifest.xml', m)")


def zipped(entries: Iterator[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = COMMIT
        for name, content in entries:
            archive.writestr(name, content)
    return data.getvalue()


def extra(*entries: tuple[str, bytes, int]) -> Callable[[Target], bytes]:
    """An honest repository with further entries: name, content, mode."""

    def archive(target: Target) -> bytes:
        return zipped(_entries(entries))

    return archive


def _entries(more: tuple[tuple[str, bytes, int], ...]) -> Iterator[tuple[str | zipfile.ZipInfo, bytes]]:
    for name, content in quick.repository().items():
        yield f"r-main/{name}", content.encode() if isinstance(content, str) else content
    for name, data, mode in more:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
        yield info, data


LINK, DEVICE, PIPE = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666

MEMORY = """
try:
    start = int(open("/proc/{pid}/maps").readline().split("-")[0], 16)
    memory = open("/proc/{pid}/mem", "rb")
    memory.seek(start)
    print("REACHED", memory.read(4))
except OSError as error:
    print(error)
"""
SECRETS = [
    Case(
        "environment", loot("loot env; loot cat /proc/self/environ; loot cat /proc/1/environ; loot sh -c 'cat /proc/*/environ'")
    ),
    Case("processes", loot("loot ls /proc; loot sh -c 'cat /proc/*/cmdline'; loot cat /proc/{pid}/environ /proc/{pid}/maps")),
    Case("database", loot("loot head -c 15 {data_dir}/jobsite.sqlite3; loot ls -la {data_dir}; loot find / -name '*.sqlite3'")),
    Case(
        "settings",
        loot(
            "loot grep -m1 MIDDLEWARE {base_dir}/jobsite/settings.py; loot ls -la {base_dir}; loot cat {data_dir}/queue/password"
        ),
    ),
    Case("neighbour", loot("loot ls {data_dir}/workspaces; loot cat {data_dir}/workspaces/*/repository/private.txt {neighbour}")),
    Case(
        "accounts",
        loot("loot cat /etc/shadow /etc/passwd- /root/.ssh/id_rsa /root/.bash_history; loot ls -la /root /home /var /run"),
    ),
    Case(
        "mounts",
        loot("loot cat /proc/self/mountinfo; loot mount --bind / /tmp; loot umount /proc; loot mount -o remount,rw /usr"),
    ),
    Case(
        "descriptors", python("import os\nfor n in range(3, 256):\n    try: print(n, os.read(n, 4096))\n    except OSError: pass")
    ),
    Case("memory-of-the-worker", python(MEMORY)),
    Case("ptrace", python("import ctypes\nfor pid in ({pid}, 1): print(ctypes.CDLL(None).ptrace(16, pid, 0, 0))")),
    Case(
        "setuid",
        loot(
            "loot su -c id; loot sudo -n id; loot passwd -S root; cp /bin/sh s; chmod 4755 s; loot ./s -p -c 'id; cat /etc/shadow'"
        ),
    ),
    Case(
        "namespaces",
        loot(
            "loot unshare -Urm head -c 15 {data_dir}/jobsite.sqlite3; loot unshare -Ur sh -c 'mount -t tmpfs x /usr; id'; loot chroot / id"
        ),
    ),
    Case("new-device", python("import os\nos.mknod('disk', 0o60666, os.makedev(254, 0))\nprint(open('disk', 'rb').read(9))")),
    Case(
        "kernel",
        loot("loot dmesg; loot cat /proc/kcore; loot sh -c 'echo b > /proc/sysrq-trigger; echo 1 > /proc/sys/kernel/sysrq'"),
    ),
]

CONNECT = """
import socket
for family, address in [(socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_INET, ("127.0.0.1", {listening})),
                        (socket.AF_INET, ("10.0.0.1", 80)), (socket.AF_INET, ("169.254.169.254", 80)),
                        (socket.AF_INET6, ("::1", {port})), (socket.AF_UNIX, "{data_dir}/queue/valkey.sock")]:
    with socket.socket(family) as s:
        s.settimeout(2)
        try:
            s.connect(address)
            s.sendall(b"GET /readyz HTTP/1.0\\r\\n\\r\\n")
            print("REACHED", address, s.recv(100))
        except OSError as error:
            print("no", error)
"""
NETWORK = [
    Case("queue-store-and-loopback", python(CONNECT)),
    Case(
        "abstract-sockets",
        python("import socket\nfor line in open('/proc/net/unix'): print(line)\nsocket.socket(socket.AF_UNIX).bind('\\0x')"),
    ),
    Case("raw-sockets", python("import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")),
    Case("names", python("import socket\nprint(socket.getaddrinfo('example.org', 80))")),
]

LIMITS = [
    Case("fork-bomb", script("b() { b | b & }; b; sleep 3; exit 1"), "failed", "limit-hit", "manuscript", "processes"),
    Case(
        "fork-bomb-that-leaves",
        script("for i in $(seq 1000); do setsid sleep 600 & done; wait"),
        "failed",
        "limit-hit",
        "manuscript",
        "processes",
    ),
    Case(
        "memory-hog",
        script("exec python3 -c 'a = []\nwhile True: a.append(bytearray(50_000_000))'"),
        "failed",
        "limit-hit",
        "manuscript",
        "1.5 GB of memory",
    ),
    Case(
        "memory-hogs",
        script("for i in 1 2 3 4 5 6; do python3 -c 'import time; a = bytearray(400_000_000); time.sleep(60)' & done; wait"),
        "failed",
        "limit-hit",
        "manuscript",
        "1.5 GB of memory",
    ),
    Case("killed-by-itself", script("kill -9 $$"), "failed", "limit-hit", "manuscript", "memory"),
    Case(
        "hundred-gigabytes",
        script("head -c 100G /dev/zero > big; exit 1"),
        "failed",
        "limit-hit",
        "manuscript",
        "file larger than the 200 MB",
    ),
    Case(
        "many-large-files",
        script("for i in $(seq 100); do head -c 50M /dev/zero > big$i; sleep 0.3; done; exit 1"),
        "failed",
        "limit-hit",
        "manuscript",
        "300 MB that it may have on the disk",
    ),
    Case(
        "million-files",
        script("mkdir m; cd m; i=0; while :; do seq $i $((i+2000)) | xargs touch; i=$((i+2000)); sleep 0.1; done"),
        "failed",
        "limit-hit",
        "manuscript",
        "20000 files",
    ),
    Case(
        "full-tmp",
        loot(
            "loot sh -c 'head -c 3G /dev/zero > /tmp/x'; loot sh -c 'head -c 3G /dev/zero > /dev/shm/x'; loot sh -c 'echo > /x'"
        ),
    ),
    Case("output-flood", script("yes"), "failed", "limit-hit", "manuscript", "1 MB of output"),
    Case("output-without-newlines", script("cat /dev/zero | tr '\\0' x"), "failed", "limit-hit", "manuscript", "1 MB of output"),
    Case(
        "endless",
        script("trap '' TERM INT HUP; while :; do sleep 0.2; done"),
        "failed",
        "build-timeout",
        "manuscript",
        "longer than",
    ),
    Case(
        "daemons",
        script(
            "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &\n"
            'python3 -c \'import os\nif os.fork() == 0: os.setsid(); os.closerange(0, 99); os.execl("/bin/sleep", "sleep", "599")\''
        ),
    ),
    Case(
        "signal-storm",
        script("(kill -9 -1; true); for pid in 1 {pid}; do kill -TERM $pid; kill -STOP $pid; kill -KILL $pid; done; true"),
        "failed",
        "limit-hit",
        "manuscript",
        "killed",
    ),
    Case("stops-itself", script("kill -STOP $$"), "failed", "build-timeout", "manuscript", "longer than"),
    Case("deep-folders", python("import os\nfor _ in range(10_000):\n    os.mkdir('d')\n    os.chdir('d')")),
    Case("no-rights", script("mkdir -p n/m; touch n/m/f; chmod 000 n/m n; chmod 000 myst.yml")),
]

ARCHIVES = [
    Case("slip", extra(("r-main/../../evil", b"x", 0o644)), "failed", "archive-unsafe", "manuscript", "leads upwards"),
    Case("absolute", extra(("/etc/cron.d/evil", b"x", 0o644)), "failed", "archive-unsafe", "manuscript", "absolute"),
    Case("link-out", extra(("r-main/l", b"../../../../etc/passwd", LINK)), "failed", "archive-unsafe", "manuscript", "leads out"),
    Case(
        "link-then-file",
        extra(("r-main/l", b"/tmp", LINK), ("r-main/l/f", b"x", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
    ),
    Case("device", extra(("r-main/d", b"", DEVICE)), "failed", "archive-unsafe", "manuscript", "device"),
    Case("pipe", extra(("r-main/p", b"", PIPE)), "failed", "archive-unsafe", "manuscript", "pipe"),
    Case("bomb", extra(("r-main/b", b"\0" * 120_000_000, 0o644)), "failed", "archive-unsafe", "manuscript", "times its size"),
    Case(
        "too-large",
        extra(*((f"r-main/b{n}", b"\0" * 9_000_000, 0o644) for n in range(18))),
        "failed",
        "archive-too-large",
        "manuscript",
        "150 MB",
    ),
    Case("deep", extra(("r-main/" + "d/" * 900 + "f", b"x", 0o644)), "failed", "archive-unsafe", "manuscript", "200 folders"),
    Case("long-name", extra(("r-main/" + "n" * 4000, b"x", 0o644)), "failed", "archive-unsafe", "manuscript", "too long"),
    Case(
        "case-twins",
        extra(("r-main/a", b"x", 0o644), ("r-main/A", b"y", 0o644)),
        "failed",
        "archive-unsafe",
        "manuscript",
        "only by case",
    ),
    Case("strange-names", extra(("r-main/a\u202eb\x07\n<script>", b"x", 0o644))),
]

PDF = ({"format": "pdf", "output": "exports/a.pdf"}, {"format": "meca", "output": "exports/article.meca.zip"})
# A page tree that is its own branch, and a stream that says it is longer than the file.
LOOPING = "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R 2 0 R]/Count 999999999>>endobj\n"
EXPORTS = [
    Case(
        "export-linked-out",
        instead("ln -sf {data_dir}/jobsite.sqlite3"),
        "failed",
        "export-",
        "manuscript",
    ),
    Case("folder-linked-out", instead(":", before="ln -s {data_dir} exports"), "failed", "export-", "manuscript"),
    Case(
        "repository-replaced",
        instead(":", before="cd ..; mv repository r; ln -s {data_dir} repository; cd r"),
        "failed",
        "export-",
        "manuscript",
    ),
    Case("account-is-a-pipe", script("mkdir -p _build/logs; mkfifo _build/logs/myst.build.json")),
    Case("export-is-a-pipe", instead("mkfifo"), "failed", "export-not-made", "manuscript"),
    Case(
        "meca-bomb",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'w', 8) as z:\n    for n in range(3): z.writestr(f'b{n}', bytes(60_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "unpacks to more than",
    ),
    Case(
        "meca-slip",
        export("with zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr('../../x', 'x')"),
        "failed",
        "export-broken",
        "manuscript",
        "leads out",
    ),
    Case(
        "xml-bomb",
        packed(
            "m = '<!DOCTYPE m [<!ENTITY a \"aaaa\">'\n"
            "for n in range(9): m += f'<!ENTITY b{n} \"' + '&a;' * 10 + '\">'\n"
            "m += ']><m>&b8;</m>'"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "XML",
    ),
    Case(
        "xml-external",
        packed("m = '<!DOCTYPE m [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><m>&a;</m>'"),
        "failed",
        "export-broken",
        "manuscript",
        "XML",
    ),
    Case(
        "pdf-loop",
        script(f"mkdir -p exports; cat > exports/a.pdf <<'END'\n{LOOPING}trailer<</Root 1 0 R>>\n%%EOF\nEND"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
    ),
    Case(
        "pdf-is-none",
        script("mkdir -p exports; head -c 20M /dev/urandom > exports/a.pdf"),
        "failed",
        "export-broken",
        "manuscript",
        "PDF",
        exports=PDF,
    ),
    Case(
        "export-upwards",
        script("true"),
        "failed",
        "export-outside",
        "manuscript",
        "leads out",
        exports=({"format": "meca", "output": "../../../../etc/passwd"},),
    ),
    Case(
        "many-exports",
        script("true"),
        "failed",
        "limit-hit",
        "manuscript",
        "100 exports",
        exports=tuple({"format": "pdf", "output": f"exports/{n}.pdf"} for n in range(300)),
    ),
    Case(
        "sparse-export",
        instead("truncate -s 190M"),
        "failed",
        "limit-hit",
        "manuscript",
        "larger than the 100 MB",
    ),
    Case(
        "deep-json",
        script("python3 -c 'print(\"[\" * 200000)' > ready/index.json"),
        "failed",
        "export-broken",
        "manuscript",
        "JSON",
    ),
    Case(
        "log-injection",
        script(
            "printf '\\033]0;x\\007\\033[2J{\\r\\0\\342\\200\\256evil\\n2020-01-01 stage succeeded\\n'\n"
            "echo '::error::<script>alert(1)</script>'"
        ),
    ),
]

MORE_EXPORTS = [
    Case(
        "meca-bomb-to-be-mended",
        export(
            "with zipfile.ZipFile('ready/article.zip', 'w', 8) as z:\n    z.writestr('manifest.xml', '<m>\\x01</m>')\n"
            "    for n in range(3): z.writestr(f'b{n}', bytes(60_000_000))"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "unpacks to more than",
    ),
    Case(
        "meca-device",
        export(
            "i = zipfile.ZipInfo('d'); i.create_system, i.external_attr = 3, 0o20666 << 16\n"
            "with zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr(i, '')"
        ),
        "failed",
        "export-broken",
        "manuscript",
        "no ordinary file",
    ),
]

CASES = [*SECRETS, *NETWORK, *LIMITS, *ARCHIVES, *EXPORTS, *MORE_EXPORTS]
