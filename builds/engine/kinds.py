"""All kinds of findings. They are registered by the modules that make them, so all of those must be imported first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from builds.engine import diagnosis
from builds.engine.findings import Group, Kind, catalogue
from builds.engine.findings.kind import KINDS


@cache
def all_kinds() -> Mapping[str, Kind]:
    """Every kind by its code."""
    for package in (catalogue, diagnosis):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    return KINDS


def can_not_fail(codes: Iterable[str]) -> str:
    """Why builds can't be failed by one of these codes; empty if they can be failed by all."""
    for code in codes:
        kind = all_kinds().get(code)
        if kind is None:
            return f"has the code {code!r}, which no finding has"
        if kind.group is Group.EDITORIAL:
            return f"has the code {code!r}, but an editorial check never fails a build"
    return ""
