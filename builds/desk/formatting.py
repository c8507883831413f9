"""Formats text for pages."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from builds.lib.units import counted
from builds.models import State

# The contract's opening words of a failed build's message. They say nothing on a page about a failure.
OPENING = "Failed to build the repo files: "
# A word that begins a sentence, and neither a command nor the name of a file.
FIRST_WORD = re.compile(r"[a-z]+ ")
WITH_PROBLEMS = "problems"  # the look of a success with problems
CODE = re.compile(r"`([^`]+)`")


def describe_state(state: str, problems: int) -> tuple[str, str]:
    """The look of a build's state, which :func:`state_badge` draws, and its words. ``problems`` counts only in a success."""
    if state == State.SUCCEEDED and problems:
        return WITH_PROBLEMS, f"succeeded, with {counted(problems, 'problem')}"
    return state, state


def without_opening(text: str) -> str:
    """A cause's sentence for a page: without the contract's opening words."""
    if not text.startswith(OPENING):
        return text
    text = text.removeprefix(OPENING)
    return text[:1].upper() + text[1:] if FIRST_WORD.match(text) else text


def in_code(text: str) -> SafeString:
    """A sentence with the text between backquotes as code."""
    return mark_safe(CODE.sub(r"<code>\1</code>", escape(text)))  # noqa: S308 - escaped just before
