"""Prints whether a file holds a page's JSON: ``page``, or why not. With limits: a hostile one takes twenty times its size of memory.

Usage: read_page.py FILE MEMORY_BYTES
"""

import json
import resource
import sys
from pathlib import Path


def main(path: str, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        page = json.loads(Path(path).read_bytes())
    except MemoryError:
        answer = "is not valid JSON (it is too large)"
    except (ValueError, RecursionError) as error:
        answer = f"is not valid JSON ({error})"
    else:
        answer = "page" if isinstance(page, dict) else "holds no page"
    print(answer)  # noqa: T201 - this is its answer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
