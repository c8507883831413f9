"""Finds the JATS article among the files of a MECA, within limits: the manifest is untrusted, and so are the files.

Reads JSON from standard input: ``manifest``, and ``files`` with the beginning of each XML file by its name, in the archive's order, both
in base64. Writes the article's name as JSON, null if there is none. The kernel kills the program when it exceeds its time or memory limit.
"""

import base64
import io
import json
import resource
import sys
import xml.sax
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

import meca  # type: ignore[import-not-found]  # beside this program

SECONDS, MEMORY_BYTES = 5, 1 << 30
LIMITS = {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}


def main() -> None:
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))
    asked = json.load(sys.stdin)
    named = meca.Hrefs()
    _parse(asked["manifest"], named)
    roots = {name: _root(beginning) for name, beginning in asked["files"].items()}
    sys.stdout.write(json.dumps(next(meca.choose(roots, named.types), None)))


class _Root(xml.sax.ContentHandler):
    name = ""

    def startElement(self, name: str, attrs: Any) -> None:
        self.name = name.rpartition(":")[2]
        raise xml.sax.SAXException("The rest does not matter.")


def _root(beginning: str) -> str:
    root = _Root()
    _parse(beginning, root)
    return root.name


def _parse(encoded: str, handler: xml.sax.ContentHandler) -> None:
    """Whether it is well-formed does not matter: the checks of the build have found out."""
    with suppress(ValueError):  # an encoding that the parser does not support
        meca.xml_problem(io.BytesIO(base64.b64decode(encoded)), handler)


if __name__ == "__main__":
    main()
