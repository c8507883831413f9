"""The codes of findings and the journal fields that the list offers as filters, with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from builds.engine.findings import Severity
from builds.models import Finding, Submission

# Only the newest rows are counted, and not in the database: SQLite would read the whole index of codes to group them.
COUNTED = 5_000
SUBMISSIONS_COUNTED = 1_000
# Stands for no journal field in the filter. An author's never has two spaces in a row.
NO_SUBJECT = "none  given"


def common_codes(chosen: str = "") -> Sequence[tuple[str, int]]:
    """The codes of the newest findings, and how many submissions have each, most frequent first. ``chosen`` is always among them."""
    newest = Finding.objects.exclude(severity=Severity.PASSED).order_by("-pk").values_list("code", "submission")[:COUNTED]
    return _most_frequent_first(Counter(code for code, _ in set(newest)), chosen)


def common_subjects(chosen: str = "") -> Sequence[tuple[str, int]]:
    """The journal fields of the newest submissions, and how many have each, most frequent first.

    ``chosen`` is always among them, unless it is NO_SUBJECT.
    """
    newest = Submission.objects.order_by("-pk").values_list("subject", flat=True)[:SUBMISSIONS_COUNTED]
    return _most_frequent_first(Counter(filter(None, newest)), "" if chosen == NO_SUBJECT else chosen)


def _most_frequent_first(counts: Counter[str], chosen: str) -> Sequence[tuple[str, int]]:
    found = sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
    return found if not chosen or chosen in counts else [*found, (chosen, 0)]
