"""Whether the database's schema is the one that this release needs: it compares the migrations that each has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

Migrations = dict[tuple[str, str], frozenset[tuple[str, str]]]
NAMED = 3


def problem() -> str:
    """Why this release can't start with the database, and what to do; empty if it can.

    Raises:
        DatabaseError: the database can't be read.
    """
    return lacks() or unknown()


def lacks() -> str:
    """What the database lacks of this release's migrations, and what to do; empty if it has all of them.

    Raises:
        DatabaseError: the database can't be read.
    """
    applied = _applied()
    missing = [key for key, replaced in _known().items() if key not in applied and not (replaced and replaced <= applied)]
    if not missing:
        return ""
    return f"The database lacks migrations of this release: {_names(missing)}. Run: manage.py migrate"


def unknown() -> str:
    """Which migrations of the database this release does not know, and what to do; empty if it knows all of them.

    A process that already runs can go on: a migration never takes away what the release before uses.

    Raises:
        DatabaseError: the database can't be read.
    """
    known = {key for key, replaced in _known().items() for key in (key, *replaced)}
    apps = {app for app, _name in known}
    foreign = [key for key in _applied() if key[0] in apps and key not in known]
    if not foreign:
        return ""
    app = min(foreign)[0]
    target = max(name for other, name in known if other == app)
    return (
        f"The database has migrations that this release does not know: {_names(foreign)}. A newer release made them. Start that release. "
        f"To go back to this one, run in the newer release: manage.py migrate {app} {target}"
    )


def _applied() -> set[tuple[str, str]]:
    return set(MigrationRecorder(connection).applied_migrations())


@cache
def _known() -> Migrations:
    """The migrations of this release with those that each replaces. Read once: an upgrade may put newer files in their place."""
    found = {(app.label, name): replaced for app in apps.get_app_configs() for name, replaced in _migrations_of(app.label)}
    elsewhere = frozenset[tuple[str, str]]().union(*found.values())
    return {key: replaced for key, replaced in found.items() if key not in elsewhere}


def _migrations_of(label: str) -> Iterator[tuple[str, frozenset[tuple[str, str]]]]:
    """The names of an app's migrations with those that each replaces.

    They are found as Django finds them. Only one that may replace others is imported: all of them need 15 MB, which stay in use.
    """
    package, _is_explicit = MigrationLoader.migrations_module(label)
    spec = find_spec(package) if package else None
    for found in iter_modules(spec.submodule_search_locations if spec else []):
        if not found.ispkg and found.name[0] not in "_~":
            yield found.name, _replaced(f"{package}.{found.name}")


def _replaced(module: str) -> frozenset[tuple[str, str]]:
    spec = find_spec(module)
    if spec is None or spec.origin is None or b"replaces" not in Path(spec.origin).read_bytes():
        return frozenset()
    return frozenset(import_module(module).Migration.replaces)


def _names(keys: Iterable[tuple[str, str]]) -> str:
    names = [f"{app} {name}" for app, name in sorted(keys)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
