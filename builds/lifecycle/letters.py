"""Letters to authors: kept in the history, and sent by e-mail where Jobsite can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from builds.models import Build, Event, EventKind, clock
from builds.record import notifications

LETTER_KIND = "letter"
KINDS = (EventKind.LETTER_SENT, EventKind.LETTER_WRITTEN)


@dataclass(frozen=True)
class Letter:
    """A letter to the authors of a manuscript. ``recipients`` are e-mail addresses."""

    recipients: Sequence[str]
    subject: str
    text: str

    def __str__(self) -> str:
        """As it is kept in the history."""
        return f"To: {', '.join(self.recipients) or '–'}\nSubject: {self.subject}\n\n{self.text}"

    @classmethod
    def parse(cls, kept: str) -> Letter:
        """The letter that the history keeps as ``kept``."""
        head, _, text = kept.partition("\n\n")
        to, _, subject = head.partition("\nSubject: ")
        recipients = to.removeprefix("To: ").replace("–", "")
        return cls([address for address in recipients.split(", ") if address], subject, text)


@transaction.atomic
def keep_letter(build: Build, letter: Letter, *, actor: str) -> int:
    """Keep a letter that its writer sends by other means. Returns the id of the event."""
    return _record(build, EventKind.LETTER_WRITTEN, actor, letter)


@transaction.atomic
def send_letter(build: Build, letter: Letter, *, actor: str, reply_to: str) -> int:
    """Keep a letter, and queue an e-mail to each recipient. Returns the id of the event."""
    for address in letter.recipients:
        notifications.send_email(LETTER_KIND, address, letter.subject, letter.text, reply_to=reply_to)
    return _record(build, EventKind.LETTER_SENT, actor, letter)


def _record(build: Build, kind: EventKind, actor: str, letter: Letter) -> int:
    event = Event(submission=build.submission, build=build, kind=kind, actor=actor[:200], reason=str(letter), at=clock.now())
    event.save()
    return event.pk
