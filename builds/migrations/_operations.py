"""Operations that change a large table while the service runs."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddField, AddIndex, AlterField, RemoveIndex


class AddIndexBeside(AddIndex):
    """On PostgreSQL, CREATE INDEX CONCURRENTLY, which does not lock the table. The migration must be ``atomic = False``.

    An interrupted run leaves indexes, on PostgreSQL also an invalid one. So an index of that name is removed first, and the migration can be
    run again.
    Django's AddIndexConcurrently requires PostgreSQL's driver and supports no other database.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        if schema_editor.connection.vendor != "postgresql":
            schema_editor.execute(f"DROP INDEX IF EXISTS {schema_editor.quote_name(self.index.name)}")
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        else:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
            schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)


class RemoveIndexBeside(RemoveIndex):
    """On PostgreSQL, DROP INDEX CONCURRENTLY, which does not wait for the table's lock. The migration must be ``atomic = False``.

    An index that an interrupted run has removed is not missed. Undone, it is created as :class:`AddIndexBeside` does.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if self.allow_migrate_model(schema_editor.connection.alias, from_state.apps.get_model(app_label, self.model_name)):
            concurrently = "CONCURRENTLY " if schema_editor.connection.vendor == "postgresql" else ""
            schema_editor.execute(f"DROP INDEX {concurrently}IF EXISTS {schema_editor.quote_name(self.name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        AddIndexBeside(self.model_name, index).database_forwards(app_label, schema_editor, from_state, to_state)


class AddColumn(AddField):
    """Adds a column that has a constant ``db_default``, without copying the table. Leaves a column alone that an interrupted run has added.

    Django copies the whole table on SQLite, and no process can write for minutes. ``ALTER TABLE … ADD COLUMN``, which it uses on other
    databases, is enough here.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model, connection = to_state.apps.get_model(app_label, self.model_name), schema_editor.connection
        if not self.allow_migrate_model(connection.alias, model) or self._is_there(connection, model._meta.db_table):
            return
        if connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        else:
            BaseDatabaseSchemaEditor.add_field(schema_editor, model, model._meta.get_field(self.name))


    def _is_there(self, connection: Any, table: str) -> bool:
        with connection.cursor() as cursor:
            return self.name in {column.name for column in connection.introspection.get_table_description(cursor, table)}


class Widen(AlterField):
    """Makes room for more characters in a column. On PostgreSQL that changes the catalogue only, not the rows.

    SQLite does not limit characters, so nothing changes there: Django would copy the whole table. Nothing is undone, because the release
    before can use the wider column, and longer values may be in it.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Leave the column as it is."""
