"""The texts from which letters to authors are drafted: those that Jobsite comes with, and those that admins have written instead."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

from builds.models import LetterKind, LetterTemplate

# What may stand in a text, and what it becomes.
PLACEHOLDERS = {
    "authors": "the names of the authors",
    "title": "the title of the manuscript",
    "repository": "the repository on GitHub",
    "problems": "what is wrong, where, and what to do about it: a numbered list",
    "node": "the address of the node, where the author submits again",
    "editor": "the name of the person who writes the letter",
}

OPENING = "Dear $authors,\n\nThank you for submitting “$title”.\n\n"
AGAIN = "Please correct this in the repository $repository. Then open your node and submit the manuscript again:\n$node\n\n"
CLOSING = "Please reply to this message if something is unclear.\n\nKind regards,\n$editor\n"

DEFAULTS: Mapping[LetterKind, tuple[str, str]] = {
    LetterKind.FAILED: (
        "Your manuscript “$title” could not be built",
        f"{OPENING}We could not build the manuscript, for the following reasons.\n\n$problems\n\n{AGAIN}{CLOSING}",
    ),
    LetterKind.PROBLEMS: (
        "Your manuscript “$title”: please check the following",
        f"{OPENING}The manuscript was built, but something is missing or wrong in the result.\n\n$problems\n\n{AGAIN}{CLOSING}",
    ),
    LetterKind.SOUND: (
        "Your manuscript “$title” was built",
        f"{OPENING}The manuscript was built, and we found nothing wrong with it. You have nothing to do.\n\n$node\n\n{CLOSING}",
    ),
    LetterKind.DELAYED: (
        "Your manuscript “$title” is delayed",
        f"{OPENING}We can't build the manuscript at the moment. The reason is not in your manuscript, and you have nothing to do. "
        f"We will try again.\n\n{CLOSING}",
    ),
}


def read_template(kind: LetterKind) -> tuple[str, str]:
    """The subject and the text from which a letter of this kind is drafted."""
    row = LetterTemplate.objects.filter(kind=kind).first()
    return (row.subject, row.text) if row else DEFAULTS[kind]


def find_mistake(text: str) -> str:
    """What an admin has to correct in a subject or text; empty if nothing."""
    template = Template(text)
    if not template.is_valid():
        return "A $ must stand before the name of a placeholder. Write $$ for a dollar sign."
    strange = [name for name in template.get_identifiers() if name not in PLACEHOLDERS]
    known = ", ".join(f"${name}" for name in PLACEHOLDERS)
    return f"There is no placeholder ${strange[0]}. Use one of these: {known}." if strange else ""


def fill(text: str, words: Mapping[str, str]) -> str:
    """The text with ``words`` in its placeholders. One that is not known stays as it is."""
    return Template(text).safe_substitute(words)
