"""How a process ended, as fields of a log line."""

from __future__ import annotations

import signal
from typing import Any


def process_end(code: int) -> dict[str, Any]:
    """``code`` is an exit code, or the negative number of the signal that ended the process, as in :mod:`subprocess`."""
    if code >= 0:
        return {"exitCode": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:  # a real-time signal has no name
        return {"signal": str(-code)}
