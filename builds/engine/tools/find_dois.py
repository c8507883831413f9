"""Finds the DOIs that a manuscript cites and that none of its bibliographies has: mystmd looks those up on the web.

Usage: find_dois.py PLAN

PLAN is JSON: ``root`` (the repository's folder), ``file`` (the project file in it), ``memory`` (bytes), ``seconds`` and ``most``.
Prints a line of JSON for each DOI, each once: the ``doi`` as mystmd writes it, and the ``file`` and ``line`` that cite it first.
"""

import json
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

MAX_DOI, MAX_BIB_BYTES = 300, 16 << 20
PART = re.compile(r"10\.\d{4,9}/[-._;()/:A-Z0-9]+", re.IGNORECASE)
# A link to a DOI, anywhere in the text: mystmd makes links of bare addresses too.
ADDRESS = re.compile(r"https?://(?:dx\.|www\.)?doi\.org/10\.\d{4,9}/[^\s<>\"`\\{}|^]+", re.IGNORECASE)
# A DOI as the target of a link, or as a citation's key.
KEY = re.compile(r"(?:\]\(\s*<?|(?<![\w.])@|<(?=doi:))(?:doi:)?(?P<doi>10\.\d{4,9}/[-._;()/:A-Z0-9]+)", re.IGNORECASE)
BIB_DOI = re.compile(r"10\.\d{4,9}/[^\s\"{},]+")


def main(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (plan["memory"], plan["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (plan["seconds"], plan["seconds"]))
    seen: set[str] = set()
    for found in find(Path(plan["root"]), Path(plan["file"])):
        if found["doi"].lower() not in seen:
            seen.add(found["doi"].lower())
            print(json.dumps(found), flush=True)  # noqa: T201 - the engine reads this
        if len(seen) >= plan["most"]:
            break


def find(root: Path, file: Path) -> Iterator[dict[str, Any]]:
    from reading import manuscript  # type: ignore[import-not-found]  # noqa: PLC0415 - the package beside this; after the limits

    known = set(_known(manuscript.bibliographies(root, file)))
    for written, name, line in _written(root, file):
        doi = normalized(written)
        if doi and len(doi) <= MAX_DOI and doi.lower() not in known:
            yield {"doi": doi, "file": name, "line": line}


def _written(root: Path, file: Path) -> Iterator[tuple[str, str, int]]:
    """What may be a DOI, with its file and line."""
    from reading import manuscript  # noqa: PLC0415 - as above

    for text, name, line in manuscript.texts(root, file):
        yield from ((written, name, line or text.line_at(at)) for written, at in references(text.plain))
        for role in text.roles:
            if role.name == "cite" or role.name.startswith("cite:"):
                yield from ((written.strip(), name, line or role.line) for written in re.split(r"[,;]\s*", role.text))
    for source in manuscript.latex(root, file):
        addresses = ((_trimmed(found[0]), found.start()) for found in ADDRESS.finditer(source.plain))
        yield from ((written, source.name, source.line_at(at)) for written, at in (*addresses, *source.keys()))


def references(text: str) -> Iterator[tuple[str, int]]:
    """What looks like a link to a DOI or its citation, with its place in the text."""
    for found in ADDRESS.finditer(text):
        yield _trimmed(found[0]), found.start()
    for found in KEY.finditer(text):
        yield _trimmed(found["doi"]), found.start()


def _trimmed(written: str) -> str:
    """Without the punctuation that follows it, and without the parenthesis of the link that it stands in."""
    while written:
        last = written[-1]
        if last in ".,;:!?'*_]" or (last == ")" and written.count(")") > written.count("(")):
            written = written[:-1]
        else:
            break
    depth = 0
    for at, letter in enumerate(written):
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            return _trimmed(written[:at])
    return written


def normalized(written: str) -> str:
    """The DOI as mystmd (by doi-utils) writes it, which names its file in the cache; empty if it takes the text for none."""
    text = written.removeprefix("doi:")
    if PART.fullmatch(text):
        return text
    if not ADDRESS.match(written):
        return ""
    path = urlsplit(written).path.removeprefix("/")
    return quote(path, safe="/:;()._-%,!$&'*+=@~[]|^\\")


def _known(paths: list[Path]) -> Iterator[str]:
    """The DOIs of the bibliographies, in lower case."""
    for path in paths:
        if path.stat().st_size <= MAX_BIB_BYTES:
            yield from (
                found.lower().rstrip(".") for found in BIB_DOI.findall(path.read_text(encoding="utf-8", errors="replace"))
            )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
