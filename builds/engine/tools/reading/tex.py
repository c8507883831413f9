"""LaTeX as a source: the files and DOIs that it names. It is not a parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from .found import Found, found
from .project import near_name
from .source import Source

COMMENT = re.compile(r"(?<!\\)%[^\n]*")
VERBATIM = re.compile(r"\\begin\{(verbatim|lstlisting|minted|comment)\*?\}.*?\\end\{\1\*?\}", re.DOTALL)
INPUT = re.compile(r"\\(?:input|include)\s*\{(?P<name>[^{}#\\\n]+)\}")
PICTURE = re.compile(r"\\includegraphics\*?\s*(?:\[[^\]\n]*\]\s*)?\{(?P<name>[^{}#\\\n]+)\}")
CITE = re.compile(r"\\[a-zA-Z]*cite[a-zA-Z]*\*?\s*(?:\[[^\]\n]*\]\s*){0,2}\{(?P<keys>[^{}]+)\}")
FOLDERS = re.compile(r"\\graphicspath\s*\{(?P<folders>(?:\s*\{[^{}]*\})+)\s*\}")
MAX_FILES = 200


class Tex:
    """A source in LaTeX. ``plain`` is its text without comments and listings, in the same lines."""

    def __init__(self, source: Source) -> None:
        self.source, self.name, self.text = source, source.name, source.text or ""

    @cached_property
    def plain(self) -> str:
        text = COMMENT.sub("", self.text.replace("\r\n", "\n"))
        return VERBATIM.sub(lambda match: "\n" * match[0].count("\n"), text)

    def line_at(self, offset: int) -> int:
        return self.plain.count("\n", 0, offset) + 1

    def keys(self) -> Iterator[tuple[str, int]]:
        """What it cites, each with its offset in ``plain``."""
        for cite in CITE.finditer(self.plain):
            yield from ((key.strip(), cite.start()) for key in cite["keys"].split(","))


def sources(root: Path, pages: list[Path]) -> Iterator[Tex]:
    """The pages in LaTeX, and what they input."""
    waiting = [path for path in pages if path.name.lower().endswith(".tex")]
    seen: set[Path] = set()
    while waiting and len(seen) < MAX_FILES:
        path = waiting.pop(0)
        if path in seen or not _is_inside(root, path):
            continue
        seen.add(path)
        tex = Tex(Source(root, path))
        yield tex
        waiting += [file for each in INPUT.finditer(tex.plain) if (file := _file(path, each["name"].strip(), (".tex", "")))]


def check(tex: Tex, root: Path, *, is_root: bool) -> Iterator[Found]:
    """Check a source in LaTeX. ``is_root`` says that it is the manuscript's first page."""
    yield from tex.source.found
    if tex.source.text is None:
        return
    if is_root and not tex.text.strip():
        yield found("page-empty", tex.name)
    path, folders = tex.source.path, [""]
    for match in FOLDERS.finditer(tex.plain):
        folders += re.findall(r"\{([^{}]*)\}", match["folders"])
    for code, pattern, suffixes, places in (
        ("include-missing", INPUT, (".tex", ""), [""]),
        ("image-missing", PICTURE, None, folders),
    ):
        for match in pattern.finditer(tex.plain):
            name = match["name"].strip()
            if not any(_file(path, f"{place}{name}", suffixes) for place in places):
                near = near_name(root, path.parent / name)
                yield found(code, tex.name, tex.line_at(match.start()), name, name=name, near=near)


def _file(path: Path, name: str, suffixes: tuple[str, ...] | None) -> Path | None:
    """The file that the source at ``path`` names; without ``suffixes``, one of any kind."""
    wanted = path.parent / name
    try:
        if suffixes is None:
            near = wanted.parent.iterdir() if wanted.parent.is_dir() else ()
            return next((each for each in near if each.is_file() and wanted.name in (each.name, each.stem)), None)
        return next((each for suffix in suffixes if (each := wanted.with_name(wanted.name + suffix)).is_file()), None)
    except (OSError, ValueError):
        return None


def _is_inside(root: Path, path: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(root.resolve())
