"""Paths in an unpacked repository.

A manuscript chooses the names, and a build may replace any file by a link or a pipe. Nothing here trusts a path.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from builds.engine.manuscript.project import Project
from builds.errors import ExportOutside, ExportUnwritable

MAX_NAME_BYTES, MAX_PATH_BYTES = 240, 2000
# A larger text of a manuscript is not read. What parses one of this size runs in a limited child process.
MAX_READ_BYTES = 8 << 20


def is_inside(project: Project, path: Path) -> bool:
    """Whether ``path``, with its links followed, is in the repository. Also false if a build replaced the repository by a link."""
    return not project.root.is_symlink() and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(project.root))


def is_inside_folder(folder: Path, path: Path) -> bool:
    """Whether ``path`` is an ordinary file that, with its links followed, is in ``folder``."""
    return is_file(path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_name(text: str) -> bool:
    """Whether a file can have this name: it has no NUL, and no half of a character."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def exists(path: Path) -> bool:
    """Whether ``path`` exists; false for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError, RuntimeError):
        return False


def is_file(path: Path) -> bool:
    """Whether ``path`` is an ordinary file; false for a name that no file can have."""
    return exists(path) and path.is_file()


def read_beginning(project: Project, path: Path, max_bytes: int) -> bytes:
    """At most ``max_bytes`` of a file in the repository.

    Raises:
        OSError: it can't be read, or is not an ordinary file in the repository (a pipe never ends).
    """
    if not is_inside(project, path) or not is_file(path):
        raise FileNotFoundError(errno.ENOENT, "not an ordinary file in the repository", str(path))
    with path.open("rb") as file:
        return file.read(max_bytes)


def read_bytes(project: Project, path: Path) -> bytes:
    """The content of a file in the repository.

    Raises:
        OSError: as for :func:`read_beginning`, or it is larger than MAX_READ_BYTES.
    """
    content = read_beginning(project, path, MAX_READ_BYTES + 1)
    if len(content) > MAX_READ_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def read_text(project: Project, path: Path) -> str:
    """The content of a text file in the repository, with ``\\n`` for every end of a line.

    Raises:
        OSError: as for :func:`read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(project, path).decode().replace("\r\n", "\n").replace("\r", "\n")


def resolve_output(project: Project, output: str) -> Path:
    """The absolute path of an export's ``output``, which is relative to the project file's folder.

    Raises:
        ExportOutside: it is outside the repository, by its name or through a link.
        ExportUnwritable: nothing can be written there.
    """
    if not is_name(output):
        raise ExportUnwritable(f"The export output {output[:60]!r} is not a file name.", file=project.file.name)
    path = Path(os.path.normpath(project.folder / output))
    folder = path if path == project.root else path.parent
    if max(len(os.fsencode(part)) for part in path.parts) > MAX_NAME_BYTES or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ExportUnwritable(f"The export output {output[:60]!r}… is longer than a file name can be.", file=project.file.name)
    if not path.is_relative_to(project.root) or not is_inside(project, folder):
        raise ExportOutside(f"The export output {output!r} leads out of the repository.", file=project.file.name)
    for above in [folder, *folder.parents]:
        if (above.is_symlink() or above.exists()) and not above.is_dir():
            name = above.relative_to(project.root)
            why = f"{str(name)!r} in the repository is not a folder"
            raise ExportUnwritable(f"The export output {output!r} can't be written: {why}.", file=project.file.name)
    return path
