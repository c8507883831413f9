"""Inserts new rows with less work than the ORM: a statement is written once per table, and several rows of a table are one statement.

Accepting a submission writes six rows. The ORM takes about three times as long for each (docs/decisions/accepting.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, Model

SET_WHEN_WRITTEN = object()


def insert(*rows: Model) -> None:
    """Insert ``rows``, which are new and of one model, in the caller's transaction. No signals are sent, and ids that the database chooses
    are not read back."""
    model = type(rows[0])
    sql = f"{_insert_into(model)} VALUES {', '.join([_places(model)] * len(rows))}"
    database = connections[DEFAULT_DB_ALIAS]  # not its proxy, which looks it up for every attribute
    with database.cursor() as cursor:
        cursor.execute(sql, [value for row in rows for value in values_of(row, database)])


def insert_unless_there(row: Model, unique: str, answer: str, params: Sequence[Any]) -> tuple[Any, ...] | None:
    """Insert ``row`` and set its id. None, and nothing is inserted, if there is a row with the same value in the field ``unique``.

    ``answer`` is an SQL expression about the new row, with ``params``. Its values are returned.
    """
    model = type(row)
    sql = f"{_insert_into(model)} VALUES {_places(model)} ON CONFLICT ({unique}) DO NOTHING RETURNING id, {answer}"
    database = connections[DEFAULT_DB_ALIAS]
    with database.cursor() as cursor:
        cursor.execute(sql, [*values_of(row, database), *params])
        found = cursor.fetchone()
    if found is None:
        return None
    row.pk, row._state.adding, row._state.db = found[0], False, DEFAULT_DB_ALIAS
    return tuple(found[1:])


def values_of(row: Model, database: BaseDatabaseWrapper) -> list[Any]:
    """The values of a row's columns, as the database takes them."""
    values = row.__dict__
    return [
        made if values.get(name) is plain else field.get_db_prep_save(field.pre_save(row, add=True), database)
        for field, name, plain, made in _columns(type(row))
    ]


@cache
def _columns(model: type[Model]) -> list[tuple[Field[Any, Any], str, Any, Any]]:
    """Each column, the name of its value, a default, and what the database takes for that. Most values of a new row are defaults."""
    database = connections[DEFAULT_DB_ALIAS]
    return [(field, field.attname, *_default(field, database)) for field in _fields(model)]


def _default(field: Field[Any, Any], database: BaseDatabaseWrapper) -> tuple[Any, Any]:
    """A default, and what the database takes for it. A value that no row has for a field that sets its value when it is written.

    A default that is made for each row, such as an id, is another object each time, so it is prepared each time.
    """
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return SET_WHEN_WRITTEN, None
    default = field.get_default()
    return default, field.get_db_prep_save(default, database)


@cache
def _fields(model: type[Model]) -> tuple[Field[Any, Any], ...]:
    """All columns but an id that the database chooses."""
    return tuple(field for field in model._meta.concrete_fields if field is not model._meta.auto_field)


@cache
def _insert_into(model: type[Model]) -> str:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in _fields(model))
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns})"


@cache
def _places(model: type[Model]) -> str:
    return f"({', '.join(['%s'] * len(_fields(model)))})"
