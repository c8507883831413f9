"""Renders the JATS article of a MECA as harmless HTML, with pandoc, in a child process with limits."""

from __future__ import annotations

import base64
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

from builds.engine.manuscript import limited

MAX_JATS_BYTES = 10 << 20
# The program limits its own processor time. This is for a machine that is too busy to run it.
SECONDS, FIND_SECONDS = 45, 10


def find_pandoc() -> str | None:
    """The program: the Python package's, otherwise an installed one."""
    package = find_spec("pypandoc")
    folders = package.submodule_search_locations or [] if package else []
    bundled = next((path for folder in folders if (path := Path(folder) / "files" / "pandoc").is_file()), None)
    return str(bundled) if bundled else shutil.which("pandoc")


def render(article: bytes, folder: str, pandoc: str) -> str | None:
    """The article as HTML without scripts, styles or addresses of images elsewhere. ``folder`` is the article's in its bundle.

    None where it can't be rendered within the limits.

    Raises:
        limited.Interrupted: it may be rendered another time.
    """
    if len(article) > MAX_JATS_BYTES:
        return None
    return limited.try_run("render_article.py", article, pandoc, folder, seconds=SECONDS)


def find(manifest: bytes, files: dict[str, bytes]) -> str | None:
    """The name of the article in a MECA, as the checks of a build find it (``tools/meca.py``). None if there is none.

    ``files`` has the beginning of each XML file outside the sources, in the archive's order.

    Raises:
        limited.Interrupted: it may be found another time.
    """
    encoded = {name: base64.b64encode(beginning).decode() for name, beginning in files.items()}
    asked = json.dumps({"manifest": base64.b64encode(manifest).decode(), "files": encoded})
    found: str | None = json.loads(limited.try_run("find_article.py", asked.encode(), seconds=FIND_SECONDS) or "null")
    return found
