"""How this installation shuts builds in: what its settings ask for, and what its machine can do."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from builds.ceilings import Ceilings
from builds.sandbox import Choice, Mode, Policy, Sandbox, choose


def choice() -> Choice:
    """Found out once per process, in a tenth of a second; a work-horse has it from its worker."""
    return choose(settings.BUILD_SANDBOX, policy())


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
    )


def sandbox_of(build_id: str, workspace: Path) -> Sandbox | None:
    """The build's own; None where builds run without, or may not run at all."""
    options = {"policy": policy(), "limits": ceilings().per_process, "nice": settings.BUILD_NICE}
    return choice().sandbox(workspace, build_id, **options)


def in_words() -> list[str]:
    """What operators must be told when the service starts; nothing where all is well."""
    found = choice()
    if not found.allowed:
        return ["no build is run on this machine, because none can be shut in.", *found.problems]
    if found.mode == Mode.BUBBLEWRAP:
        return []
    how = "builds run UNSANDBOXED, as BUILD_SANDBOX allows" if found.mode == Mode.NONE else "builds are shut in by Landlock alone"
    return [f"{how}.", *found.problems]
