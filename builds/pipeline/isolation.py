"""How this installation isolates builds: what its settings ask for, and what its machine supports."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from builds.engine.process import cgroup_probe
from builds.engine.process.ceilings import Ceilings
from builds.engine.process.cgroups import Groups
from builds.engine.sandbox import probe
from builds.engine.sandbox.sandbox import Policy, Sandbox


def choice() -> probe.Choice:
    """The sandbox. It is tried once per process, which takes a tenth of a second; a worker's children inherit the result."""
    return probe.choose(settings.BUILD_SANDBOX, policy())


def groups() -> Groups:
    """The control groups, tried once per process. This may move the process into a group beside those of builds."""
    return cgroup_probe.choose(settings.BUILD_CGROUPS)


def policy() -> Policy:
    return Policy(
        hidden=(Path(settings.DATA_DIR), Path(settings.BASE_DIR)),
        readable=tuple(Path(name) for name in settings.BUILD_READABLE),
    )


def ceilings() -> Ceilings:
    return Ceilings(
        memory=settings.BUILD_MEMORY_MAX_BYTES,
        processes=settings.BUILD_PROCESSES_MAX,
        workspace=settings.BUILD_DISK_MAX_BYTES,
        files=settings.BUILD_FILES_MAX,
        free=settings.DISK_RESERVE,
        file=settings.BUILD_FILE_MAX_BYTES,
        cpu_weight=settings.BUILD_CPU_WEIGHT,
    )


def sandbox_of(build_id: str, workspace: Path) -> Sandbox | None:
    """The sandbox for one build; None if builds run without one, or do not run at all."""
    limits = ceilings().per_file if groups() else ceilings().per_process
    nice = 0 if groups().share_processors else settings.BUILD_NICE
    return choice().sandbox(workspace, build_id, policy=policy(), limits=limits, nice=nice)


def worker_columns() -> dict[str, str]:
    """What a worker reports in its row (:class:`builds.models.queue.Worker`): the kinds of isolation, and notices for operators."""
    found = choice()
    sandbox = str(found.kind) if found.allowed else probe.REFUSED
    return {"sandbox": sandbox, "cgroups": str(groups().version), "isolation_notes": "\n".join(notices())}


def notices() -> list[str]:
    """What operators must know about the isolation of builds; empty if all of it works."""
    found = choice()
    if not found.allowed:
        return ["no sandbox works on this machine, so no build runs.", *found.problems]
    uncontrolled = ["builds' memory and processes are counted, not limited by control groups.", *groups().problems]
    lacks = [*([] if groups() else uncontrolled), *found.lacks]
    if found.sandbox_type is None:
        return ["builds run UNSANDBOXED, as BUILD_SANDBOX allows.", *found.problems, *lacks]
    return [found.sandbox_type.notice, *found.problems, *lacks] if found.sandbox_type.notice else lacks
