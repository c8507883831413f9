"""Everything that the record has about one submission, as one JSON document that is written piece by piece.

Nothing is held in memory whole: the front matter may have 100 MB, and a log 200 MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, TextField
from django.db.models.functions import Cast

from builds.models import Article, Build, FrontMatter, Handling, StatusUpdate, Submission
from builds.record import logs, packages

ROWS = 500


def write(submission: Submission) -> Iterator[str]:
    """The pieces of the document: an object with the keys ``submission``, ``handling``, ``front_matter``, ``article``, ``attempts``,
    ``status_updates``, ``events``.

    Each row is an object with the columns of its table. An attempt also has its ``stages``, ``findings``, ``artifacts``, ``packages`` and
    ``log``, and a status update its ``tries``.
    """
    handling = Handling.objects.filter(submission=submission).first()
    yield f'{{"submission": {_row(submission)}, "handling": {_row(handling) if handling else "null"}, "front_matter": '
    document = FrontMatter.objects.filter(pk=submission.pk).values_list(Cast("document", TextField()), flat=True).first()
    yield document or "null"
    article = Article.objects.filter(pk=submission.pk).first()
    yield f', "article": {_row(article) if article else "null"}, "attempts": '
    yield from _list(_attempt(build) for build in submission.builds.order_by("number").iterator(ROWS))
    yield ', "status_updates": '
    yield from _list(_update(update) for update in submission.status_updates.order_by("id").iterator(ROWS))
    yield ', "events": '
    yield from _list(_rows(submission.events.order_by("id")))
    yield "}\n"


def _attempt(build: Build) -> Iterator[str]:
    yield _row(build)[:-1]
    for name in ("stages", "findings", "artifacts"):
        yield f', "{name}": '
        yield from _list(_rows(getattr(build, name)))
    yield f', "packages": {json.dumps(packages.find(build))}, "log": '
    yield from _list([_line(line)] for line in logs.read(build))
    yield "}"


def _update(update: StatusUpdate) -> Iterator[str]:
    yield f'{_row(update)[:-1]}, "tries": '
    yield from _list(_rows(update.attempts))
    yield "}"


def _rows(rows: Any) -> Iterator[list[str]]:
    return ([_row(row)] for row in rows.iterator(ROWS))


def _list(items: Iterable[Iterable[str]]) -> Iterator[str]:
    separator = "["
    for pieces in items:
        yield separator
        yield from pieces
        separator = ",\n"
    yield "[]" if separator == "[" else "]"


def _row(row: Model) -> str:
    columns = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return json.dumps(columns, cls=DjangoJSONEncoder)


def _line(line: logs.LogLine) -> str:
    shown = {"number": line.number, "time": line.time, "stage": line.stage, "stream": line.stream, "text": line.text}
    return json.dumps(shown, cls=DjangoJSONEncoder)
