"""Repositories that build at once: a script copies prepared exports. Needs ``BUILD_COMMAND="sh make.sh"``."""

from __future__ import annotations

import io
import zipfile

COMMAND = "sh make.sh"
EXPORTS = [{"format": "meca", "output": "exports/article.meca.zip"}]
MANIFEST = '<manifest><item><instance href="bundle/index.md"/></item></manifest>'
PAGE = '{"kind": "Article", "frontmatter": {"title": "Ready"}}'
ARTICLE = "<article><body><p>Text.</p></body></article>"
MAKE = """\
mkdir -p exports _build/site/content
cp ready/article.zip exports/article.meca.zip
cp ready/index.json _build/site/content/index.json
echo '{"projects": [{"index": "index"}]}' > _build/site/config.json
echo made
"""

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
# A page with a figure of which GitHub's archive has only a pointer, so that the figure is missing from the exports.
WITHOUT_FIGURE = {"index.md": "# Title\n\n![A figure](fig.png)\n", "fig.png": POINTER}


def repository(before: str = "", **changes: str | bytes) -> dict[str, str | bytes]:
    """The files of a repository. The shell runs ``before`` before it copies the exports."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("manifest.xml", MANIFEST)
        archive.writestr("article.xml", ARTICLE)
        archive.writestr("bundle/index.md", "# Title\n")
    return {
        "myst.yml": "version: 1\nproject:\n  title: T\n",
        "index.md": "# Title\n",
        "make.sh": f"{before}\n{MAKE}",
        "ready/article.zip": data.getvalue(),
        "ready/index.json": PAGE,
        **changes,
    }
