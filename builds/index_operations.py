"""For migrations: an index on a table that may be large, made while the service goes on."""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations import AddIndex


class AddIndexBeside(AddIndex):
    """On PostgreSQL CREATE INDEX CONCURRENTLY, which locks nobody out; its migration must be ``atomic = False``.

    One that was broken off leaves an index that is never used, so what is there by that name is removed first: it can be run again.
    Django's AddIndexConcurrently needs the driver of PostgreSQL to be installed, and knows no other database.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
            schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)
