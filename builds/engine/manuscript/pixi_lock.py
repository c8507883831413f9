"""The packages of a manuscript's pixi.lock, so that a later attempt can say which of them changed.

The file is read line by line: pixi writes it, it has a few hundred packages, and a parser of YAML needs a second for it. A file that pixi
did not write may give any names, which are only compared and shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from builds.engine.manuscript import paths
from builds.engine.manuscript.project import Project

NAME = "pixi.lock"
# Builds run on Linux. ``noarch`` packages run everywhere.
PLATFORMS = {"linux-64", "noarch"}
MAX_PACKAGES, MAX_LENGTH = 3000, 100
# A list of 3000 packages has 2 MB. Each is there once for each platform.
MAX_CHARACTERS, MAX_ENTRIES = 4 << 20, 20_000
CONDA_ENDS = (".conda", ".tar.bz2")
# A dash begins an entry.
FIELD = re.compile(r"^(- |  )(conda|pypi|kind|name|version|url|subdir): (\S{1,1000})", re.MULTILINE)


def read(project: Project) -> dict[str, str]:
    """The versions of the packages by their names. Empty without a pixi.lock, or if it can't be read."""
    for folder in dict.fromkeys((project.folder, project.root)):
        if paths.is_file(folder / NAME):
            try:
                return parse(paths.read_text(project, folder / NAME))
            except (OSError, UnicodeDecodeError):
                return {}
    return {}


def parse(text: str) -> dict[str, str]:
    """As :func:`read`, from the text of the file, in the formats 4 to 6."""
    packages: dict[str, str] = {}
    for entry in islice(_entries(text), MAX_ENTRIES):
        name, version = _name_and_version(entry)
        if _is_shown(name) and _is_shown(version):
            packages[name] = version
        if len(packages) >= MAX_PACKAGES:
            break
    return packages


def _is_shown(text: str) -> bool:
    """Whether a name or a version can be stored and shown: PostgreSQL's JSON can't hold every character."""
    return 0 < len(text) <= MAX_LENGTH and text.isprintable()


def _entries(text: str) -> Iterator[dict[str, str]]:
    """The fields of each entry of the list ``packages``, which is the last part of the file."""
    if len(text) > MAX_CHARACTERS:
        return
    start = 0 if text.startswith("packages:\n") else text.find("\npackages:\n")
    entry: dict[str, str] = {}
    for field in FIELD.finditer(text, start) if start >= 0 else ():
        if field[1] == "- " and entry:
            yield entry
            entry = {}
        entry[field[2]] = field[3].strip("'\"")
    if entry:
        yield entry


def _name_and_version(entry: dict[str, str]) -> tuple[str, str]:
    """Empty for a package of another platform."""
    if address := entry.get("conda"):
        platform, name, version = _parse_conda(address)
        return ("", "") if platform not in PLATFORMS else (name, version)
    if entry.get("subdir", "noarch") not in PLATFORMS:
        return "", ""
    return entry.get("name", ""), entry.get("version", "")


def _parse_conda(address: str) -> tuple[str, str, str]:
    """Platform, name and version, from ``…/linux-64/name-version-build.conda``."""
    try:
        path = PurePosixPath(unquote(urlsplit(address).path))
    except ValueError:
        return "", "", ""
    parts = path.name.rsplit("-", 2)
    if len(parts) < 3 or not path.name.endswith(CONDA_ENDS):
        return "", "", ""
    return path.parent.name, parts[0], parts[1]
