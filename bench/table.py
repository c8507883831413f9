"""Writes many rows fast, on both databases: in batches, and with the indexes made at the end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import Model

BATCH = 20_000
# The indexes of our tables that belong to no constraint, and SQLite's triggers, which keep the full-text index.
INDEXES = {
    "sqlite": (
        "SELECT type, name, sql FROM sqlite_master"
        " WHERE tbl_name LIKE 'builds_%' AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    ),
    "postgresql": (
        "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename LIKE 'builds_%'"
        " AND indexname NOT IN (SELECT conname FROM pg_constraint)"
    ),
}


class Table:
    """Inserts rows of one model; other columns get the model's defaults."""

    def __init__(self, model: type[Model], *columns: str) -> None:
        fields = {field.attname: field for field in model._meta.concrete_fields}
        rest = [name for name, field in fields.items() if name not in columns and field.get_internal_type() != "BigAutoField"]
        self._rest = [fields[name].get_db_prep_save(fields[name].get_default(), connection) for name in rest]
        named = [*columns, *rest]
        quoted = ", ".join(f'"{fields[name].column}"' for name in named)
        self._table = f'"{model._meta.db_table}" ({quoted})'
        self._marks = ", ".join(["%s"] * len(named))

    def insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        write = self._insert if connection.vendor == "sqlite" else self._copy
        rows = iter(rows)
        while batch := list(islice(rows, BATCH)):
            with transaction.atomic(), connection.cursor() as cursor:
                write(cursor, batch)

    def _insert(self, cursor: Any, batch: list[tuple[Any, ...]]) -> None:
        sql = f"INSERT INTO {self._table} VALUES ({self._marks})"  # noqa: S608 - our own names
        cursor.executemany(sql, [[*map(_plain, row), *self._rest] for row in batch])

    def _copy(self, cursor: Any, batch: list[tuple[Any, ...]]) -> None:
        with cursor.copy(f"COPY {self._table} FROM STDIN") as copy:
            for row in batch:
                copy.write_row([*row, *self._rest])


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return value.hex if isinstance(value, uuid.UUID) else value


@contextmanager
def indexes_made_at_the_end() -> Iterator[None]:
    """Removes the indexes of our tables, and makes them again: kept in step with each row, they take most of the time.

    Nothing else may use the database meanwhile. If this is interrupted, the database is of no more use.
    """
    with connection.cursor() as cursor:
        cursor.execute(INDEXES[connection.vendor])
        found = cursor.fetchall()
        for kind, name, _ in found:
            cursor.execute(f'DROP {kind} "{name}"')
        yield
        if connection.vendor == "postgresql":
            cursor.execute("SET maintenance_work_mem = '512MB'")
        for _, _, made_by in found:
            cursor.execute(made_by)
        if connection.vendor == "sqlite":
            cursor.execute("INSERT INTO builds_search_index(builds_search_index) VALUES ('rebuild')")
