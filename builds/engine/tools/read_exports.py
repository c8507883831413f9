"""Reads the exports of a build within limits: their content is untrusted, and could make a parser use all memory and time.

Usage: read_exports.py PLAN

PLAN is JSON: ``memory`` (bytes), ``bytes`` and ``entries`` (limits of a MECA's content), and ``exports``, each with its ``kind``
(``pdf``, ``page`` or ``meca``), its ``path``, its time limit in ``seconds``, and for a MECA the ``pages`` to compare it with. With
``published``, the plan of read_published.py, that program's work is done too, once all exports could be read: starting it by itself would
take longer than most of what both do.

Prints lines of JSON, each with the number of the export (from 0): see :func:`meca.read`. The last line of
each export is its ``problem``, empty if there is none. If an export's last line is missing, this program was killed while reading that
export.
"""

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

# The engine cuts longer lines of output, and JSON may need twelve characters for one.
MAX_TEXT = 1000


def main(plan: dict[str, Any]) -> None:
    if any(export["kind"] == "pdf" for export in plan["exports"]):
        import pypdf  # noqa: F401, PLC0415 - imported once for both
    _in_child(check_exports, plan)
    if plan.get("published"):
        import read_published  # type: ignore[import-not-found]  # noqa: PLC0415 - the program beside this one

        read_published.main(plan["published"])


def _in_child(work: Callable[[dict[str, Any]], None], plan: dict[str, Any]) -> None:
    """Do ``work`` in a process of its own, because limits can't be raised again. If that fails, this program fails in the same way."""
    pid = os.fork()
    if pid == 0:
        work(plan)
        sys.exit()
    _pid, status = os.waitpid(pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(code if code > 0 else 128 - code)


def check_exports(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (plan["memory"], plan["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, export in enumerate(plan["exports"]):
        signal.alarm(export["seconds"])  # kills this program: a parser may never return to Python
        try:
            for key, text in READERS[export["kind"]](Path(export["path"]), {**plan, **export}):
                _report(number, key, text)
        except MemoryError:
            _report(number, "problem", OUT_OF_MEMORY[export["kind"]])
        signal.alarm(0)


def _report(number: int, key: str, text: str) -> None:
    print(json.dumps({"export": number, key: text[:MAX_TEXT]}), flush=True)  # noqa: T201 - the engine reads this


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
        yield "pages", str(pages)
        yield "problem", "" if pages else "has no pages"


def read_page(path: Path, plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        page = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        yield "problem", f"is not valid JSON ({error})"
    else:
        yield "problem", "" if isinstance(page, dict) else "does not contain a page"


def read_meca(path: Path, plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    import meca  # type: ignore[import-not-found]  # noqa: PLC0415 - the module beside this one; after the limits

    yield from meca.read(path, max_entries=plan["entries"], max_bytes=plan["bytes"], pages=plan.get("pages"))


READERS = {"pdf": read_pdf, "page": read_page, "meca": read_meca}
OUT_OF_MEMORY = {
    "pdf": "can't be opened as a PDF (MemoryError)",
    "page": "is not valid JSON (it is too large)",
    "meca": "can't be read (it needs too much memory)",
}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
