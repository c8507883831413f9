"""Drafts a letter to the authors from the cause or the findings of the newest attempt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from builds.desk import titles
from builds.desk.formatting import without_opening
from builds.desk.submissions import findings
from builds.desk.submissions.detail import make_cause_link, make_node_link
from builds.desk.submissions.rows import find_failed
from builds.engine.manuscript import front_matter
from builds.errors import Fault
from builds.lib.text import visible
from builds.lifecycle import Letter
from builds.models import Build, FrontMatter, LetterKind, State, Submission
from builds.staff import letters

MAX_PROBLEMS = 30
MAX_AUTHORS_CHARACTERS = 300
ORCID = re.compile(r" \([0-9X-]{10,60}\)")
OUR_FAULTS = (Fault.SERVICE, Fault.OUTSIDE)


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what the author can do."""

    text: str
    place: str
    link: str
    advice: str

    def lines(self, number: int) -> Iterator[str]:
        yield f"{number}. {self.text}"
        if self.place or self.link:
            yield f"   Where: {' – '.join(filter(None, (self.place, self.link)))}"
        if self.advice:
            yield f"   What to do: {self.advice}"


def reported(submission: Submission) -> Build:
    """The attempt that a letter is about: the failed one during an automatic retry, otherwise the newest."""
    newest, *before = submission.builds.order_by("-number").select_related("submission")[:2]
    return find_failed(newest, before[0] if before else None) or newest


def kind_of(build: Build) -> LetterKind | None:
    """The kind of letter that fits the attempt. None while it has not ended, or if it was cancelled."""
    if build.state == State.FAILED:
        return LetterKind.DELAYED if build.fault in OUR_FAULTS else LetterKind.FAILED
    if build.state == State.SUCCEEDED:
        return LetterKind.PROBLEMS if build.problems else LetterKind.SOUND
    return None


def draft(build: Build, kind: LetterKind, editor: str) -> Letter:
    """A letter of this kind about the attempt."""
    submission = build.submission
    words = {
        "authors": _greeted(submission.authors),
        "title": titles.unformatted(submission.title or submission.repository),
        "repository": f"https://github.com/{submission.repository}",
        "problems": list_problems(build),
        "node": make_node_link(submission.node_uuid),
        "editor": editor,
    }
    subject, text = letters.read_template(kind)
    return Letter(_recipients(submission), letters.fill(subject, words), letters.fill(text, words))


def list_problems(build: Build) -> str:
    """The cause of a failure, then the problems, as a numbered list in plain text."""
    problems = [*_cause(build), *_problems(build)]
    lines = [line for number, problem in enumerate(problems[:MAX_PROBLEMS], 1) for line in problem.lines(number)]
    more = [f"… and {len(problems) - MAX_PROBLEMS} more."] if len(problems) > MAX_PROBLEMS else []
    return visible("\n".join([*lines, *more]))


def _cause(build: Build) -> Iterator[Problem]:
    if build.state == State.FAILED:
        place = findings.describe_place(build.cause_file, build.cause_line)
        yield Problem(without_opening(build.cause), place, make_cause_link(build), build.advice)


def _problems(build: Build) -> Iterator[Problem]:
    for shown in findings.read(build).problems:
        yield Problem(shown.finding.text, shown.place, shown.link, shown.finding.advice)


def _greeted(authors: str) -> str:
    names = visible(ORCID.sub("", authors))
    return names if names and len(names) <= MAX_AUTHORS_CHARACTERS else "authors"


def _recipients(submission: Submission) -> list[str]:
    """The authors' addresses. The database takes them out of the front matter, which may be 100 MB large."""
    authors = FrontMatter.objects.filter(submission=submission).values_list("document__authors", flat=True).first()
    return front_matter.emails(authors)
