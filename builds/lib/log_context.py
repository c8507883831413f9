"""The fields that every log line of this process has: its host and role, and the build and stage that it runs.

They belong to the whole process and not to a thread: a work-horse runs one build, also in the thread that holds its lease.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_fields: dict[str, object] = {}


def fields() -> dict[str, object]:
    """A copy of the fields."""
    return dict(_fields)


def bind(**added: object) -> None:
    """Add fields for the rest of this process's life."""
    _fields.update(added)


@contextmanager
def bound(**added: object) -> Iterator[None]:
    """Add fields while the block runs."""
    before = fields()
    _fields.update(added)
    try:
        yield
    finally:
        _fields.clear()
        _fields.update(before)
