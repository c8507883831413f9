"""Reads the site's content and the PDFs of a build within limits: their content is untrusted.

It makes the editorial checks, and looks for what the exports lack of the manuscript.

Usage: read_published.py PLAN

PLAN is JSON: ``page`` (the JSON of the first page), ``pdfs`` (each with its ``path`` and ``articles``, the sources that it has to hold),
``root`` and ``file`` (the repository and its project file), ``memory`` (bytes) and ``seconds``. Prints a line of JSON for each verdict
(``check``, ``severity``, ``text``) and each finding (as read_manuscript.py does), and lines of ``labels`` that pages refer to.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

LABELS = 50  # to a line of the answer


def main(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (plan["memory"], plan["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (plan["seconds"], plan["seconds"]))
    for answer in read(plan):
        print(json.dumps(answer), flush=True)  # noqa: T201 - the engine reads this


def read(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from reading import editorial, whole  # type: ignore[import-not-found]  # noqa: PLC0415 - the package beside this; after the limits

    page, pdfs = Path(plan["page"]), [Path(pdf["path"]) for pdf in plan["pdfs"]]
    for verdict in editorial.judge(page, pdfs):
        yield {"check": verdict.code, "severity": verdict.severity, "text": verdict.text}
    for pdf in plan["pdfs"]:
        for found in editorial.missing_glyphs(page, Path(pdf["path"]), pdf["articles"]):
            yield asdict(found)
    for start in range(0, len(labels := whole.referenced(page)), LABELS):
        yield {"labels": labels[start : start + LABELS]}
    yield {"labels": []}
    for found in whole.check(plan):
        yield asdict(found)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
