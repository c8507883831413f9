"""A database whose migrations are not those of the release that meets it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.migrations.recorder import MigrationRecorder

from builds.record import readiness, schema
from builds.record.schema import _known

pytestmark = pytest.mark.django_db

NEWEST = max(name for app, name in _known() if app == "builds")


def test_a_schema_that_fits_has_no_problem() -> None:
    assert (schema.problem(), readiness.problems(), readiness.notices()) == ("", {}, [])


def test_a_missing_migration_is_named() -> None:
    MigrationRecorder.Migration.objects.filter(app="builds", name=NEWEST).delete()
    expected = f"The database lacks migrations of this release: builds {NEWEST}. Run: manage.py migrate"
    assert schema.problem() == readiness.problems()["database"] == readiness.refusal() == expected


def test_many_missing_migrations_are_counted() -> None:
    MigrationRecorder.Migration.objects.all().delete()
    assert f"and {len(_known()) - 3} more" in schema.problem()


def test_a_migration_of_a_newer_release_is_named_and_how_to_undo_it(settings: Any) -> None:
    MigrationRecorder.Migration.objects.create(app="builds", name="9999_future")
    (notice,) = readiness.notices()
    assert schema.problem() == notice
    assert "builds 9999_future" in notice
    assert notice.endswith(f"manage.py migrate builds {NEWEST}")
    assert (readiness.problems(), readiness.refusal()) == ({}, ""), "a process that runs while a newer release migrates goes on"


def test_a_migration_of_an_app_that_is_not_installed_does_not_matter() -> None:
    MigrationRecorder.Migration.objects.create(app="removed", name="0001_initial")
    assert schema.problem() == ""


def test_migrations_that_a_squashed_one_replaces_count_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = frozenset({("builds", NEWEST), ("builds", "0001_initial")})
    monkeypatch.setattr(schema, "_known", lambda: {("builds", "0001_squashed"): parts})
    assert schema.lacks() == ""
    MigrationRecorder.Migration.objects.filter(app="builds", name=NEWEST).delete()
    assert "0001_squashed" in schema.lacks()
