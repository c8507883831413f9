"""What a hostile case is, and helpers that make its repository."""

from __future__ import annotations

import base64
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support import quick

COMMIT = b"5" * 40
MECA = ({"format": "meca", "output": "exports/article.meca.zip"},)

# What an attack prints if it succeeds, and what only files contain that a build must not read.
MARKS = re.compile(
    r"REACHED[^\n]*|SQLite format 3|MIDDLEWARE = \[|root:[x*!$][^\n]{0,40}|uid=0\(|INTERNAL_SERVICE_SECRET=[^*\n]{0,40}"
)


@dataclass(frozen=True)
class Target:
    """What an attacker may know about the service: everything but its secrets. ``pid`` is a worker's."""

    data_dir: Path
    base_dir: Path
    port: int
    pid: int
    listening: int
    neighbour: str
    init: int = 1


Archive = Callable[[Target], bytes]


@dataclass(frozen=True)
class Control:
    """The same attack without a sandbox, on a throwaway machine (tests/hostile/outside.py). ``finds`` are words that it prints or
    delivers there: they show that the attack works, and that the tests would notice. ``instead`` is a smaller attack, if the attack
    itself would use too much; ``as_root`` attacks need a real root, not that of a user namespace."""

    finds: tuple[str, ...]
    instead: Archive | None = None
    as_root: bool = False


@dataclass(frozen=True)
class Cause:
    """The cause that is reported for a failure."""

    code: str
    fault: str
    words: str = ""


@dataclass(frozen=True)
class Alone:
    """How a case ends with Landlock alone, if differently, and why."""

    cause: Cause
    why: str


@dataclass(frozen=True)
class Case:
    """A manuscript and how its build must end: the state, and, for a failure, the cause's code, fault and words of its sentence.

    ``grouped`` is the cause if control groups report which process was killed for memory: without them it is a guess. ``alone`` is
    how the build ends with Landlock alone.

    ``tries`` describes the attack for people. Its ``control`` shows that it does attack; so does its cause, if it fails, because the
    build would succeed if the attack did nothing. Otherwise ``uncontrolled`` says why that can't be shown.
    """

    name: str
    archive: Archive
    state: str = "succeeded"
    code: str = ""
    fault: str = ""
    words: str = ""
    exports: tuple[dict[str, str], ...] = MECA
    tries: str = ""
    control: Control | None = None
    uncontrolled: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    grouped: Cause | None = None
    alone: Alone | None = None

    def cause(self, *, by_groups: bool, alone: bool = False) -> Cause:
        if alone and self.alone:
            return self.alone.cause
        usual = Cause(self.code, self.fault, self.words)
        return (self.grouped or usual) if by_groups else usual

    @property
    def is_shown(self) -> bool:
        """Whether the tests would notice an attack that does nothing, or the case says why not."""
        return bool(self.control or self.uncontrolled or (self.state == "failed" and self.code))


def stolen(text: str, secrets: Iterable[str] = ()) -> list[str]:
    """What ``text`` contains that no build may get or do."""
    return [*MARKS.findall(text), *(secret for secret in secrets if secret in text)]


def forms(secret: str) -> list[str]:
    """How a secret may be written to pass unnoticed: also in hex, in an address, and in base64 at each offset."""
    data = secret.encode()
    in_base64 = [base64.b64encode(data[skipped : len(data) - (len(data) - skipped) % 3]).decode() for skipped in range(3)]
    return [secret, quote(secret, safe=""), data.hex(), data.hex().upper(), *in_base64]


LOOT = """
loot() { "$@" >> loot.txt 2>&1 || true; }
%s
python3 -I - <<'END'
import json
page = {"kind": "Article", "loot": open("loot.txt", errors="replace").read()[-100_000:]}
json.dump(page, open("ready/index.json", "w"))
END
cat loot.txt
"""


def script(text: str) -> Archive:
    """A repository whose build runs ``text`` and then makes its exports. ``{…}`` is filled in from the target."""

    def archive(target: Target) -> bytes:
        before = text
        for name in ("data_dir", "base_dir", "port", "pid", "listening", "neighbour", "init"):
            before = before.replace("{" + name + "}", str(getattr(target, name)))
        return zipped(_honest(quick.repository(before)))

    return archive


def loot(text: str) -> Archive:
    return script("touch loot.txt\n" + LOOT % text)


def python(code: str) -> Archive:
    return loot(f"cat > attack.py <<'CODE'\n{code}\nCODE\nloot python3 -I attack.py")


def export(code: str) -> Archive:
    """A repository whose MECA is what the Python ``code`` writes to ``ready/article.zip``."""
    return script(f"cat > make.py <<'CODE'\nimport os, zipfile\n{code}\nCODE\npython3 -I make.py")


def instead(command: str, *, before: str = "true") -> Archive:
    """A repository whose MECA is replaced by what ``command`` makes; its other exports are honest."""
    return script(f'{before}\ncp() {{ case $2 in exports/*) {command} "$2";; *) command cp "$@";; esac; }}')


def packed(body: str) -> Archive:
    """A repository whose MECA contains one manifest: the value that the Python ``body`` gives to ``m``."""
    return export(f"{body}\nwith zipfile.ZipFile('ready/article.zip', 'w') as z: z.writestr('manifest.xml', m)")


def zipped(entries: Iterator[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = COMMIT
        for name, content in entries:
            archive.writestr(name, content)
    return data.getvalue()


def extra(*entries: tuple[str, bytes, int]) -> Archive:
    """An honest repository with more entries: name, content, mode."""

    def archive(target: Target) -> bytes:
        return zipped(_entries(entries))

    return archive


def _honest(files: dict[str, str | bytes]) -> Iterator[tuple[str | zipfile.ZipInfo, bytes]]:
    for name, content in files.items():
        yield f"r-main/{name}", content.encode() if isinstance(content, str) else content


def _entries(more: tuple[tuple[str, bytes, int], ...]) -> Iterator[tuple[str | zipfile.ZipInfo, bytes]]:
    yield from _honest(quick.repository())
    for name, data, mode in more:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr, info.compress_type = 3, mode << 16, zipfile.ZIP_DEFLATED
        yield info, data


LINK, DEVICE, PIPE = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666


def zeros(size: int) -> bytes:
    """A zlib stream of ``size`` zeros (a multiple of ten million). It is made quickly, because all its blocks are the same."""
    step = 10_000_000
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compress.compress(bytes(step)) + compress.flush(zlib.Z_FULL_FLUSH)
    check = ((size % 65521) << 16 | 1).to_bytes(4, "big")
    return b"\x78\x9c" + block * (size // step) + b"\x03\x00" + check


def overlapping(entries: int, size: int) -> Archive:
    """An honest repository with many entries that share the same compressed zeros."""

    def archive(target: Target) -> bytes:
        data = io.BytesIO(zipped(_honest(quick.repository())))
        with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr("r-main/zeros", bytes(size))
            file.comment = COMMIT
            first = file.getinfo("r-main/zeros")
            for number in range(entries):
                twin = copy(first)
                twin.filename = twin.orig_filename = f"r-main/zeros{number}"
                file.filelist.append(twin)
        return data.getvalue()

    return archive


def packed_with_bzip2(target: Target) -> bytes:
    """An honest repository with a file of zeros in BZip2, in which each 40 bytes unpack to 900 kB."""
    data = io.BytesIO(zipped(_honest(quick.repository())))
    with zipfile.ZipFile(data, "a") as file:
        file.comment = COMMIT
        file.writestr("r-main/zeros", bytes(140_000_000), zipfile.ZIP_BZIP2)
    return data.getvalue()


def listing_more(entries: int) -> Archive:
    """An honest repository whose directory lists this many more entries than its end record claims."""

    def archive(target: Target) -> bytes:
        data = zipped(_honest(quick.repository()))
        first, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
        more = data[first : data.index(b"PK\x01\x02", first + 1)] * entries
        listed = (end - first + len(more)).to_bytes(4, "little")
        return data[:end] + more + data[end : end + 12] + listed + data[end + 16 :]

    return archive
