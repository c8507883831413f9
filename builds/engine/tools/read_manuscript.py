"""Reads the sources of a manuscript within limits, before they are built: their content is untrusted, and could keep a parser busy.

Usage: read_manuscript.py PLAN

PLAN is JSON: ``root`` (the repository's folder), ``file`` (the project file in it), ``memory`` (bytes), ``seconds``, ``runs_code`` (the
build's command may run notebooks) and ``converts_eps`` (a program for that is installed).

It stores text files as UTF-8 without a byte order mark where that is safe. Prints a line of JSON for each finding: ``code``, ``file``,
``line``, ``subject``, ``words`` and ``is_fatal``, as in builds/engine/tools/reading/found.py. The last line is ``{"end": true}``: without
it the program was ended by a limit.
"""

import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # an isolated Python does not look beside the program

MAX_FOUND = 400


def main(plan: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (plan["memory"], plan["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (plan["seconds"], plan["seconds"]))
    seen = set()
    for found in read(plan):
        line = json.dumps(found)
        if line not in seen:
            print(line, flush=True)  # noqa: T201 - the engine reads this
            seen.add(line)
        if len(seen) >= MAX_FOUND:
            break
    print(json.dumps({"end": True}), flush=True)  # noqa: T201 - the same


def read(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from reading.manuscript import check  # type: ignore[import-not-found]  # noqa: PLC0415 - the package beside this; after the limits

    for found in check(Path(plan["root"]), Path(plan["file"]), runs_code=plan["runs_code"], converts_eps=plan["converts_eps"]):
        yield asdict(found)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
