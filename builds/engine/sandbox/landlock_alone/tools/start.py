"""What builds/engine/tools/enter.py is for other sandboxes, with two seccomp filters and the keeper (keeper.py).

Usage: start.py PLAN PROGRAM [ARGUMENT...]

PLAN is that of enter.py, with ``filter`` (the first seccomp filter, in hex) and ``keeper`` (the second ``filter``, the ``asked`` system
calls by number, the number of ``seccomp``, and for the keeper ``parent``, ``workspace`` and ``port``).
"""

import ctypes
import marshal
import os
import socket
import sys
from pathlib import Path
from typing import Any

# An isolated Python does not look beside the program.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3] / "tools")]

import enter  # type: ignore[import-not-found]  # noqa: E402 - needs the path above
import keeper  # type: ignore[import-not-found]  # noqa: E402 - needs the path above

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
# The filter is loaded by a descriptor. Signals wait while the keeper acts for a program, so that it never acts twice.
SECCOMP_SET_MODE_FILTER, NEW_LISTENER, WAIT_KILLABLE_RECV = 1, 8, 32
LIBC = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main(plan: dict[str, Any], argv: list[str]) -> None:
    try:
        enter.prepare(plan)
        if plan["filter"]:
            _load_filter(bytes.fromhex(plan["filter"]))
        _start_keeper(plan["keeper"])
        enter.become(plan, argv)
    except OSError as error:
        enter.report_failure(plan, error)
        raise


def _load_filter(steps: bytes) -> None:
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_program(steps)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "The kernel did not accept the seccomp filter")


def _start_keeper(plan: dict[str, Any]) -> None:
    """Continue in a child of the keeper, and give the keeper the filter that asks it."""
    asked = {int(number): call for number, call in plan["asked"].items()}
    with keeper.continue_below_a_keeper(plan["parent"], plan["workspace"], plan["port"], asked) as channel:
        program = ctypes.byref(_program(bytes.fromhex(plan["filter"])))
        listener = LIBC.syscall(plan["seccomp"], SECCOMP_SET_MODE_FILTER, NEW_LISTENER | WAIT_KILLABLE_RECV, program)
        if listener < 0:
            raise OSError(ctypes.get_errno(), "The kernel did not accept the second seccomp filter")
        socket.send_fds(channel, [b"."], [listener])
        os.close(listener)


def _program(steps: bytes) -> _Program:
    return _Program(len(steps) // 8, steps)


if __name__ == "__main__":
    main(marshal.loads(bytes.fromhex(sys.argv[1])), sys.argv[2:])  # noqa: S302 - the service wrote it
