"""Imports a library without the packages that it loads only because they are installed.

Some libraries look for optional packages when they are imported, for features that Jobsite does not use. Every process of the service would
keep them in memory. ``docs/decisions/fork-after-import.md`` has the figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """In the block, these modules can't be imported, as if they were not installed. One that is loaded already stays as it is."""
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the import statement then fails (docs.python.org/3/reference/import.html)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
