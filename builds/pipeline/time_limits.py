"""The time limits of a build, and the errors of a build that exceeded one. Whose fault a timeout is depends on the stage."""

from __future__ import annotations

from builds.engine.context import Limits
from builds.engine.myst.shell import command_timed_out
from builds.errors import BuildError, CommandTimedOut, DeliveryTimedOut, FetchTimedOut, StageTimedOut
from builds.lib import units
from builds.models import StageName

TIMED_OUT: dict[StageName, type[BuildError]] = {
    StageName.FETCH: FetchTimedOut,
    StageName.UNPACK: StageTimedOut,
    StageName.BUILD: CommandTimedOut,
    StageName.COLLECT: StageTimedOut,
    StageName.DELIVER: DeliveryTimedOut,
}


def attempt_exceeded(name: StageName, limits: Limits) -> BuildError:
    """The error of an attempt that exceeded its time limit in the stage ``name``."""
    limit = units.duration(limits.attempt_seconds)
    return TIMED_OUT[name](f"The attempt exceeded its time limit of {limit}. It ended in the {name} stage.")


def stage_exceeded(name: StageName, limits: Limits) -> BuildError:
    """The error of a stage that exceeded its own time limit. In the build stage the commands have the limit."""
    if name == StageName.BUILD:
        return command_timed_out(limits)
    return TIMED_OUT[name](f"The {name} stage exceeded its time limit of {units.duration(limits.stage_seconds)}.")


def max_stage_seconds(name: StageName, limits: Limits) -> float:
    """How long a stage may take. Around its commands, the build stage may take as long as any other stage."""
    return limits.stage_seconds + (limits.build_seconds if name == StageName.BUILD else 0)
