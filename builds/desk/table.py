"""A list of submissions as CSV, read and sent a thousand at a time."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime

from builds import front_matter
from builds.desk.filters import Filters
from builds.desk.rows import Row, rows

AT_ONCE = 1000
# A spreadsheet takes a cell that begins so for a formula, and may run what an author wrote; in some languages the wide signs, too.
# Where semicolons part the cells, as in much of Europe, one within a text begins another.
FORMULA = re.compile("(^|[;|]\\s*)(?=[=+@\uff1d\uff0b\uff0d\uff20-])")
LONGEST_CELL = 30_000  # a spreadsheet takes some 32,000 characters
COLUMNS = (
    *("jobId", "node uuid", "title", "authors", "repository", "ref", "commit", "state", "fault", "cause code", "cause"),
    *("attempts", "submitted (UTC)", "started (UTC)", "ended (UTC)", "seconds"),
)


class Echo:
    """A file whose ``write`` gives the line back instead."""

    def write(self, line: str) -> str:
        return line


def lines(filters: Filters) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)  # the mark without which Excel takes UTF-8 for something else
    before: int | None = None
    while True:
        page = filters.page(before=before, size=AT_ONCE)
        yield "".join(writer.writerow([cell(value) for value in values(row)]) for row in rows(page.ids))
        if page.older is None:
            return
        before = page.older


def cell(value: object) -> object:
    return FORMULA.sub(r"\1'", front_matter.clean(value, LONGEST_CELL)) if isinstance(value, str) else value


def values(row: Row) -> tuple[object, ...]:
    submission, build = row.submission, row.build
    own = (submission.job_id, submission.node_uuid, submission.title, submission.authors, submission.repository, row.ref)
    times = (moment(submission.created_at), moment(build.started_at), moment(build.finished_at))
    seconds = "" if row.seconds is None else round(row.seconds, 1)
    return (*own, build.commit, submission.state, build.fault, build.cause_code, build.cause, row.attempts, *times, seconds)


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""
