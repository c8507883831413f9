"""What tests of programs in sandboxes and control groups share."""

from __future__ import annotations

import json
from typing import Any

import psutil
import pytest

from builds.engine.context import Context
from builds.engine.myst import own_tools
from builds.engine.process.cgroup_probe import choose as choose_groups
from builds.engine.sandbox.probe import choose
from builds.engine.sandbox.sandbox import Policy

GROUPS = choose_groups("auto")
BUBBLEWRAP = choose("bubblewrap", Policy())
needs_bubblewrap = pytest.mark.skipif(not BUBBLEWRAP.allowed, reason="bubblewrap does not work on this machine")
# pytest wants a reason also where there are control groups.
needs_groups = pytest.mark.skipif(not GROUPS, reason=" ".join(GROUPS.problems) or "none")
FINE = ['{"export": 0, "problem": ""}']


def zombies() -> set[int]:
    """The children of this process that have ended and were not waited for."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def read_page(context: Context, **options: Any) -> list[str]:
    """Check index.json in the workspace with our own reader. Returns what it says: ``FINE`` if the file is."""
    export = {"kind": "page", "path": str(context.workspace / "index.json"), "seconds": 60}
    plan = {"memory": 1 << 30, "bytes": 1 << 20, "entries": 10, "exports": [export], "published": None}
    command = ("read_exports.py", json.dumps(plan))
    arguments = {"seconds": 60, "max_bytes": 1 << 20, "env": {}, **options}
    result = own_tools.run(context, context.sandbox, command, **arguments)
    assert (result.ended.exit_code, result.errors) == (0, [])
    return result.lines
