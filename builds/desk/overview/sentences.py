"""What the codes of causes and findings mean."""

from __future__ import annotations

import re
from collections.abc import Iterable

from builds.engine.kinds import all_kinds
from builds.errors import BuildError


def find_sentence(code: str) -> str:
    """What the code of a cause or a finding means, in one sentence. Empty if the code is unknown."""
    kind = all_kinds().get(code)
    return SENTENCES.get(code) or (_without_words(kind.text) if kind else "")


def _without_words(text: str) -> str:
    """The text of a kind with an ellipsis for each word that a finding fills in, and without those at its end."""
    return re.sub(r"[\s:.]*…\.?$", ".", PLACE.sub("…", text))


def _all_errors(error: type[BuildError] = BuildError) -> Iterable[type[BuildError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _all_errors(kind)


# A place for a word in the text of a kind, or several beside each other.
PLACE = re.compile(r"'?(?:\{\w+(?:![a-z])?\})+'?")
SENTENCES = {error.code: (error.__doc__ or "").strip().splitlines()[0] for error in reversed(list(_all_errors()))}
