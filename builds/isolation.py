"""How this installation shuts builds in: what its settings ask for, and what its machine can do."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from builds import cgroup_choice
from builds.ceilings import Ceilings
from builds.cgroups import Groups
from builds.queue_models import REFUSED
from builds.sandbox import Mode, Policy, Sandbox
from builds.sandbox_choice import Choice, choose

ALONE = "builds are shut in by Landlock alone: they can see that other files and processes exist, and can't run notebooks"


def choice() -> Choice:
    """Found out once per process, in a tenth of a second; a work-horse has it from its worker."""
    return choose(settings.BUILD_SANDBOX, policy())


def groups() -> Groups:
    """Found out once per process, as above. May move this process to a control group beside those of builds."""
    return cgroup_choice.choose(settings.BUILD_CGROUPS)


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
    """The build's own; None where builds run without, or may not run at all."""
    limits = ceilings().per_file if groups() else ceilings().per_process
    nice = 0 if groups().share_processors else settings.BUILD_NICE
    return choice().sandbox(workspace, build_id, policy=policy(), limits=limits, nice=nice)


def of_worker() -> dict[str, str]:
    """What a worker's row says of it (:class:`builds.queue_models.Worker`): the modes, and what operators must be told."""
    found = choice()
    sandbox = str(found.mode) if found.allowed else REFUSED
    return {"sandbox": sandbox, "cgroups": str(groups().version), "isolation_notes": "\n".join(in_words())}


def in_words() -> list[str]:
    """What operators must be told when the service starts; nothing where all is well."""
    found = choice()
    if not found.allowed:
        return ["no build is run on this machine, because none can be shut in.", *found.problems]
    told = [] if groups() else ["builds' memory and processes are counted, not limited by control groups.", *groups().problems]
    told.extend(found.lacks)
    if found.mode == Mode.BUBBLEWRAP:
        return told
    how = "builds run UNSANDBOXED, as BUILD_SANDBOX allows" if found.mode == Mode.NONE else ALONE
    return [f"{how}.", *found.problems, *told]
