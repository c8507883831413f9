"""Runs both stand-ins as one process, until SIGTERM or SIGINT.

Prints the service's settings ``GITHUB_URL=…`` and ``DESCI_SERVER_URL=…``, one per line, once both servers listen.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.standins import ArchiveHost, DesciServer
from tests.standins.desci_server import SECRET

SAMPLE = Path(__file__).parents[1] / "sample"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    # Set up before the servers start, so that an early signal is not lost.
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    archive = ArchiveHost(port=options.archive_port, proxy=options.proxy)
    # This may run for weeks, so received files are hashed and not kept.
    desci = DesciServer(options.secret, port=options.desci_port, keep_files=False)
    if options.seed_sample:
        archive.add("jobsite", "sample", SAMPLE)
    with archive, desci:
        if not options.quiet:
            sys.stdout.write(f"GITHUB_URL={archive.url}\nDESCI_SERVER_URL={desci.url}\n")
        sys.stdout.flush()
        ended.wait()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.standins", description=__doc__)
    parser.add_argument("--archive-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--desci-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--secret", default=os.environ.get("INTERNAL_SERVICE_SECRET") or SECRET)
    parser.add_argument("--seed-sample", action="store_true", help="put the sample manuscript at jobsite/sample")
    parser.add_argument("--quiet", action="store_true", help="do not print the addresses")
    parser.add_argument("--proxy", default="", help="address to which requests for other repositories are redirected")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
