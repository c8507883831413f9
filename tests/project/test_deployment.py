"""Production settings pass Django's checks. Migrations are reversible, and the previous release can run with them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest
from django.db import migrations

from builds.migrations._operations import RemoveIndexBeside, Widen

BASE_DIR = Path(__file__).parents[2]
MIGRATIONS = sorted(path.stem for path in (BASE_DIR / "builds" / "migrations").glob("0*.py"))
ADDITIVE = (
    migrations.AddField,
    migrations.AddIndex,
    migrations.AddConstraint,
    migrations.CreateModel,
    migrations.RunPython,
    migrations.RunSQL,
    migrations.AlterModelOptions,
    Widen,
    RemoveIndexBeside,
)


def manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "Vb2-8Zr0q_kTn5xW1mCeYh7uJ4sLp9dGf3aQo6iRtXwEzKvB-longer-than-fifty",
        "INTERNAL_SERVICE_SECRET": "a-secret",
        "PUBLIC_URL": "https://jobsite.example.org",
        "DATA_DIR": str(folder),
    }
    command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_production_settings_pass_every_check(tmp_path: Path) -> None:
    checked = manage(tmp_path, "check", "--deploy", "--fail-level", "INFO")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


@pytest.mark.slow
def test_migrations_are_reversible(tmp_path: Path) -> None:
    for target in ((), ("builds", "0001"), ()):
        migrated = manage(tmp_path, "migrate", "--verbosity", "0", *target)
        assert (migrated.returncode, migrated.stderr) == (0, "")


@pytest.mark.slow
def test_an_interrupted_migration_can_be_run_again(tmp_path: Path) -> None:
    """One that is not a single transaction may have done any part of its work. Here it has done all of it."""
    interrupted = [name for name in MIGRATIONS if not import_module(f"builds.migrations.{name}").Migration.atomic]
    for name in interrupted:
        manage(tmp_path, "migrate", "--verbosity", "0", "builds", name)
        with closing(sqlite3.connect(tmp_path / "jobsite.sqlite3")) as database:
            database.execute("DELETE FROM django_migrations WHERE app = 'builds' AND name = ?", [name])
            database.commit()
        migrated = manage(tmp_path, "migrate", "--verbosity", "0", "builds", name)
        assert (migrated.returncode, migrated.stderr) == (0, ""), name
    assert len(interrupted) > 3


@pytest.mark.parametrize("name", MIGRATIONS[1:])
def test_the_previous_release_can_run_with_a_migration(name: str) -> None:
    """Its processes run while the migration is applied: it removes nothing but indexes, and new columns have defaults."""
    migration = import_module(f"builds.migrations.{name}").Migration
    for operation in migration.operations:
        assert isinstance(operation, ADDITIVE), operation
        assert operation.reversible, operation
        if isinstance(operation, migrations.AddField):
            assert operation.field.null or operation.field.has_db_default() or operation.field.many_to_many, operation.name
