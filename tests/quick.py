"""Repositories whose build takes no time: a script puts exports that lie ready in their places. Wants ``BUILD_COMMAND="sh make.sh"``."""

from __future__ import annotations

import io
import zipfile

COMMAND = "sh make.sh"
EXPORTS = [{"format": "meca", "output": "exports/article.meca.zip"}]
MANIFEST = '<manifest><item><instance href="bundle/index.md"/></item></manifest>'
MAKE = """\
mkdir -p exports _build/site/content
cp ready/article.zip exports/article.meca.zip
cp ready/index.json _build/site/content/index.json
echo '{"projects": [{"index": "index"}]}' > _build/site/config.json
echo made
"""


def repository(before: str = "", **changes: str | bytes) -> dict[str, str | bytes]:
    """The files of a repository; ``before`` is run by the shell before the exports are put in place."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("manifest.xml", MANIFEST)
        archive.writestr("bundle/index.md", "# Title\n")
    return {
        "myst.yml": "version: 1\nproject:\n  title: T\n",
        "index.md": "# Title\n",
        "make.sh": f"{before}\n{MAKE}",
        "ready/article.zip": data.getvalue(),
        "ready/index.json": '{"kind": "Article"}',
        **changes,
    }
