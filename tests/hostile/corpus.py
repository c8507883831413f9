"""Manuscripts that attack. Each is a repository whose build is a script, which tries to get whatever it could reach delivered.

A new case says what it ``tries``, and how the tests show that it does: see :class:`tests.hostile.case.Case`.
"""

from __future__ import annotations

from tests.hostile.archives import ARCHIVES
from tests.hostile.case import Case
from tests.hostile.exports import EXPORTS
from tests.hostile.harm import HARM
from tests.hostile.limits import LIMITS
from tests.hostile.secrets import NETWORK, SECRETS
from tests.hostile.texts import TEXTS

KINDS: dict[str, list[Case]] = {
    "Reading what belongs to others": SECRETS,
    "Changing what belongs to others": HARM,
    "The network": NETWORK,
    "Using too much, and not ending": LIMITS,
    "The archive of the repository": ARCHIVES,
    "The exports": EXPORTS,
    "Output and front matter": TEXTS,
}
CASES = [case for cases in KINDS.values() for case in cases]
