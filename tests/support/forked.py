"""Whether a program of the service was forked from the supervisor, or started by exec."""

from __future__ import annotations

from pathlib import Path


def is_forked(pid: int) -> bool:
    """The kernel keeps the arguments of an exec'd program apart. A forked one has written its command line into its memory as one text."""
    return b" " in Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
