"""The list of submissions as CSV, read and sent in batches."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime

from builds.desk.submissions.filters import Filters
from builds.desk.submissions.rows import Row, read_rows
from builds.lib.text import one_line

BATCH_SIZE = 1000
# The first batch is small, so that the download begins at once.
FIRST_BATCH_SIZE = 50
# A spreadsheet treats a cell that starts with one of these signs as a formula, so it could run an author's text. Some languages
# use the wide signs. Where semicolons separate cells, as in much of Europe, a semicolon in a text starts a new cell.
FORMULA = re.compile("(^|[;|]\\s*)(?=[=+@\uff1d\uff0b\uff0d\uff20-])")
MAX_CELL_CHARACTERS = 30_000  # spreadsheets accept about 32,000
COLUMNS = (
    *(
        "jobId",
        "node uuid",
        "title",
        "authors",
        "journal field",
        "repository",
        "ref",
        "commit",
        "state",
        "fault",
        "cause code",
        "cause",
    ),
    *("problems", "problem codes"),
    *("handled by", "put away"),
    *("attempts", "submitted (UTC)", "started (UTC)", "ended (UTC)", "seconds", "processor seconds"),
)


class Echo:
    """A file whose ``write`` returns the line instead of storing it."""

    def write(self, line: str) -> str:
        return line


def write_lines(filters: Filters) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)  # the byte order mark, without which Excel does not read the file as UTF-8
    before: int | None = None
    while True:
        page = filters.page(before=before, size=FIRST_BATCH_SIZE if before is None else BATCH_SIZE)
        yield "".join(writer.writerow([clean_cell(value) for value in list_values(row)]) for row in read_rows(page.ids))
        if page.older is None:
            return
        before = page.older


def clean_cell(value: object) -> object:
    return FORMULA.sub(r"\1'", one_line(value, MAX_CELL_CHARACTERS)) if isinstance(value, str) else value


def list_values(row: Row) -> tuple[object, ...]:
    submission, build = row.submission, row.build
    names = (submission.job_id, submission.node_uuid, submission.title, submission.authors)
    own = (*names, submission.subject, submission.repository, row.ref)
    times = (format_time(submission.created_at), format_time(build.started_at), format_time(build.finished_at))
    seconds = tuple("" if value is None else round(value, 1) for value in (row.seconds, build.processor_seconds))
    problems = (submission.problems, ", ".join(row.found.codes) if row.found else "")
    handling = row.handling
    handled = (handling.handler.username if handling and handling.handler else "", row.put_away)
    why = (build.fault, build.cause_code, build.cause)
    return (*own, build.commit, submission.state, *why, *problems, *handled, row.attempts, *times, *seconds)


def format_time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""
