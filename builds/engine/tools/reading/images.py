"""Looks at the first and last bytes of picture files."""

from __future__ import annotations

from pathlib import Path
from xml.parsers import expat

from .source import LFS_HEAD

MAX_SVG_BYTES = 32 << 20
EDGE = 4096
SIGNATURES = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "PDF": b"%PDF",
    "EPS": b"%!PS",
}
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".pdf": "PDF"}


def find_problem(path: Path) -> tuple[str, str]:
    """The code of what is wrong with a picture, and why it can't be read. Both are empty if nothing is."""
    size = path.stat().st_size
    if size == 0:
        return "image-empty", ""
    with path.open("rb") as file:
        start = file.read(EDGE)
        file.seek(max(0, size - EDGE))
        end = file.read(EDGE)
    if start.startswith(LFS_HEAD):
        return "image-lfs-pointer", ""
    suffix = path.suffix.lower()
    if suffix in (".eps", ".ps"):
        return "image-eps", ""
    why = _svg_problem(path) if suffix == ".svg" else _problem(KINDS.get(suffix, ""), start, end)
    return ("image-unreadable", why) if why else ("", "")


def _problem(kind: str, start: bytes, end: bytes) -> str:
    if not kind:
        return ""
    if SIGNATURES[kind] not in (start[:1024] if kind == "PDF" else start[:16]):
        other = next((name for name, signature in SIGNATURES.items() if start.startswith(signature)), "")
        return f"it holds a {other} picture" if other else f"it is not a {kind} file"
    if kind == "PNG" and b"IEND" not in end:
        return "the file is cut off"
    return ""


def _svg_problem(path: Path) -> str:
    if path.stat().st_size > MAX_SVG_BYTES:
        return ""
    parser = expat.ParserCreate()
    parser.EntityDeclHandler = _refuse_entity
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except expat.ExpatError as error:
        return f"it is not well-formed: {expat.ErrorString(error.code)}, line {error.lineno}"
    except ValueError:
        return ""  # it declares entities, as Adobe Illustrator's files do: nothing is said about it
    return ""


def _refuse_entity(*arguments: object) -> None:
    raise ValueError
