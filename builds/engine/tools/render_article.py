"""Renders a JATS article as harmless HTML, within limits: the article is untrusted.

Usage: render_article.py PANDOC FOLDER

The article comes from standard input, and the HTML goes to standard output. PANDOC is the program's path, and FOLDER the article's folder
in its bundle: an image gets the address ``../figure/?entry=PATH``, with its path in the bundle. Exits with 3 if the article is nested too
deeply, if it or its HTML is too large, or if pandoc can't read it: with the same article it would do so again. Exits with 4 if pandoc was
killed or could not start. The kernel ends this program, and pandoc, when they exceed their time or memory limit.

Pandoc may read and write no files (``--sandbox``). Its HTML is cleaned by safe_html.py.
"""

import resource
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

import jats_for_pandoc  # type: ignore[import-not-found]  # beside this program
import safe_html  # type: ignore[import-not-found]  # beside this program

SECONDS, PANDOC_SECONDS = 15, 20
MEMORY_BYTES = 3 << 30
MAX_HTML_BYTES = 8 << 20
TOO_LARGE, INTERRUPTED = 3, 4
LIMITS = {resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
METADATA = Path(__file__).with_name("article.yaml")
OPTIONS = (
    *("--sandbox", "--from=jats", "--to=html5", "--mathml", "--section-divs", "--wrap=none", "--no-highlight", "--quiet"),
    *(f"--id-prefix={safe_html.PREFIX}", "--shift-heading-level-by=1", "--citeproc", f"--metadata-file={METADATA}"),
)


def main(pandoc: str, folder: str) -> None:
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))
    # The signal of the first limit, SIGXCPU, tells a used-up time from a lack of memory.
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    try:
        article, labels = jats_for_pandoc.prepare(sys.stdin.buffer.read(), folder)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError, MemoryError):
        sys.exit(TOO_LARGE)
    sys.stdout.write(safe_html.finish(safe_html.clean(_convert(pandoc, article), folder), labels))


def _convert(pandoc: str, article: bytes) -> str:
    """Pandoc's HTML. Ends this program if pandoc fails, or writes too much."""
    try:
        made = subprocess.run(
            [pandoc, *OPTIONS],
            input=article,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=PANDOC_SECONDS,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError):
        sys.exit(INTERRUPTED)
    if made.returncode < 0 and made.returncode != -signal.SIGXCPU:
        sys.exit(INTERRUPTED)
    if made.returncode or len(made.stdout) > MAX_HTML_BYTES:
        sys.exit(TOO_LARGE)
    return made.stdout.decode("utf-8", "replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
