"""Reads the exports of a build, each with limits: what is in them is a stranger's, and can make a parser take all memory and time.

Usage: read_exports.py PLAN

PLAN is JSON: ``memory`` (bytes), ``bytes`` and ``entries`` (of all that may be in a MECA), ``exports`` (each with its ``kind``:
``pdf``, ``page`` or ``meca``; its ``path``; and the ``seconds`` that reading it may take).

Printed is a line of JSON for each thing to be told, with the number of the export (from 0): a ``warning``, what was ``mended``, and
last, of each export, the ``problem``: empty where it is what it should be. Who does not get to an export's last line was ended at it.
"""

import json
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

# A line that is longer is cut by who reads it, and a character takes up to twelve of it.
LONGEST_TEXT = 1000


def main(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (plan["memory"], plan["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, export in enumerate(plan["exports"]):
        signal.alarm(export["seconds"])  # ends this program: a parser may never come back to Python
        try:
            for key, text in READERS[export["kind"]](Path(export["path"]), plan):
                _tell(number, key, text)
        except MemoryError:
            _tell(number, "problem", WITHOUT_MEMORY[export["kind"]])
        signal.alarm(0)


def _tell(number: int, key: str, text: str) -> None:
    print(json.dumps({"export": number, key: text[:LONGEST_TEXT]}), flush=True)  # noqa: T201 - this is its answer


def read_pdf(path: Path, plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from pypdf import PdfReader  # noqa: PLC0415 - after the limits

    try:
        pages = len(PdfReader(path, strict=False).pages)
    except MemoryError:
        raise
    except Exception as error:
        why = traceback.format_exception_only(error)[-1].strip()
        yield "problem", f"can't be opened as a PDF ({why[:200]})"
    else:
        yield "problem", "" if pages else "has no page"


def read_page(path: Path, plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        page = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        yield "problem", f"is not valid JSON ({error})"
    else:
        yield "problem", "" if isinstance(page, dict) else "holds no page"


def read_meca(path: Path, plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    import meca  # type: ignore[import-not-found]  # noqa: PLC0415 - it lies beside this; after the limits

    yield from meca.read(path, entries=plan["entries"], most=plan["bytes"])


READERS = {"pdf": read_pdf, "page": read_page, "meca": read_meca}
WITHOUT_MEMORY = {
    "pdf": "can't be opened as a PDF (MemoryError)",
    "page": "is not valid JSON (it is too large)",
    "meca": "can't be read (it takes too much memory)",
}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
