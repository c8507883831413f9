"""Waits until a client connects to a listening socket, and becomes a program that answers it.

Usage: await_client.py DESCRIPTOR PROGRAM [ARGUMENT...]

Most builds never ask for the network, so their proxy (filter.py), which takes long to import, is not even started.
"""

import os
import select
import sys


def main(descriptor: str, *command: str) -> None:
    waiting = select.poll()
    waiting.register(int(descriptor), select.POLLIN)
    waiting.poll()
    os.execv(command[0], command)  # noqa: S606 - no shell is intended


if __name__ == "__main__":
    main(*sys.argv[1:])
