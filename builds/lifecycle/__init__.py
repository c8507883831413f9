"""Every change of state, as verbs.

Each verb is one transaction: it moves a row only if the row still is where the verb may start from, and writes the event and what
desci-server must hear beside it. A verb that comes too late raises :class:`StaleBuild` and changes nothing.
"""

from builds.lifecycle.cancelling import finish_cancel, request_cancel
from builds.lifecycle.ending import fail, give_up, hand_over, lose, succeed
from builds.lifecycle.rows import API, NO_PERSONS, ActRefused, StaleBuild
from builds.lifecycle.running import cancel_asked, claim, enter_stage, leave_stage, pin, renew
from builds.lifecycle.submitting import JobConflict, Request, retry, retry_source, submit
from builds.lifecycle.updates import ask_whether_wanted, nobody_waits, push

__all__ = [
    "API",
    "NO_PERSONS",
    "ActRefused",
    "JobConflict",
    "Request",
    "StaleBuild",
    "ask_whether_wanted",
    "cancel_asked",
    "claim",
    "enter_stage",
    "fail",
    "finish_cancel",
    "give_up",
    "hand_over",
    "leave_stage",
    "lose",
    "nobody_waits",
    "pin",
    "push",
    "renew",
    "request_cancel",
    "retry",
    "retry_source",
    "submit",
    "succeed",
]
