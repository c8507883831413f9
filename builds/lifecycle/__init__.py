"""Every change of state, as verbs.

Each verb is one transaction. It changes a row only if the row is in a state that the verb may start from, and writes the event and
the status update in the same transaction. A verb that comes too late raises :class:`StaleBuild` and changes nothing.
"""

from builds.lifecycle.cancelling import finish_cancel, request_cancel
from builds.lifecycle.ending import fail, give_up, hand_over, lose, repeat_causes, succeed
from builds.lifecycle.handling import HANDLE, add_note, away_refusal, bring_back, drop, give, put_away, take, wake_due
from builds.lifecycle.letters import Letter, keep_letter, send_letter
from builds.lifecycle.queueing import build_next, next_refusal, start_waiting
from builds.lifecycle.retrying import AWAITED, automatic_retry_at, waiting_for
from builds.lifecycle.rows import API, COMMAND_LINE, NO_PERSONS, ActionRefused, StaleBuild, lock, lock_node
from builds.lifecycle.running import build_instead, cancel_reason, claim, enter_stage, leave_stage, pin, renew, reuse
from builds.lifecycle.status_updates import ask_whether_wanted, mark_unwanted, push
from builds.lifecycle.submitting import JobConflict, Request, retry, retry_source, submit
from builds.lifecycle.turns import choose, why_held

__all__ = [
    "API",
    "AWAITED",
    "COMMAND_LINE",
    "HANDLE",
    "NO_PERSONS",
    "ActionRefused",
    "JobConflict",
    "Letter",
    "Request",
    "StaleBuild",
    "add_note",
    "ask_whether_wanted",
    "automatic_retry_at",
    "away_refusal",
    "bring_back",
    "build_instead",
    "build_next",
    "cancel_reason",
    "choose",
    "claim",
    "drop",
    "enter_stage",
    "fail",
    "finish_cancel",
    "give",
    "give_up",
    "hand_over",
    "keep_letter",
    "leave_stage",
    "lock",
    "lock_node",
    "lose",
    "mark_unwanted",
    "next_refusal",
    "pin",
    "push",
    "put_away",
    "renew",
    "repeat_causes",
    "request_cancel",
    "retry",
    "retry_source",
    "reuse",
    "send_letter",
    "start_waiting",
    "submit",
    "succeed",
    "take",
    "waiting_for",
    "wake_due",
    "why_held",
]
