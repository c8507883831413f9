"""Prints how many pages a PDF has. A program of its own, with limits: a hostile PDF can make a parser take all memory and time.

Usage: count_pages.py FILE MEMORY_BYTES
"""

import resource
import sys


def main(path: str, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from pypdf import PdfReader  # noqa: PLC0415 - after the limits

    print(len(PdfReader(path, strict=False).pages))  # noqa: T201 - this is its answer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
