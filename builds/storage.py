"""The kept exports: moved out of the workspace when they are collected, so that they can be delivered again without a build."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from django.db import transaction

from builds.errors import BuildError, ExportOutside
from builds.models import Artifact, Build, State, Submission
from builds.patience import patiently
from builds.stages import Export


def keep(build: Build, exports: Iterable[Export]) -> list[Export]:
    """Move the files to the build's folder, record them, and return the exports where they are now."""
    folder = build.exports_folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        kept = [_moved(export, folder, position) for position, export in enumerate(exports, 1)]
        patiently(lambda: _record(build, kept))
    except BaseException:
        remove(folder)  # nobody would find them: they are not recorded
        raise
    return kept


def _moved(export: Export, folder: Path, position: int) -> Export:
    path = folder / f"{position}-{export.role}{export.path.suffix[:16]}"
    if not stat.S_ISREG(export.path.lstat().st_mode):
        raise ExportOutside(f"{export.name} is no ordinary file.", file=export.name)
    shutil.move(export.path, path)
    return replace(export, path=path)


@transaction.atomic
def _record(build: Build, exports: list[Export]) -> None:
    if not Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        return
    Artifact.objects.bulk_create(
        Artifact(build=build, role=e.role, name=e.name, file=e.path.name, size=e.size, sha256=e.sha256, position=position)
        for position, e in enumerate(exports, 1)
    )


def kept_exports(submission: Submission) -> Build | None:
    """The newest build whose exports are still there to be delivered again."""
    made = submission.builds.filter(artifacts__isnull=False).distinct().order_by("-number")
    return next((build for build in made if has_kept_exports(build)), None)


def has_kept_exports(build: Build) -> bool:
    artifacts = list(build.artifacts.all())
    return bool(artifacts) and all(artifact.path.is_file() for artifact in artifacts)


def take_over(build: Build, source: Build) -> list[Export]:
    """The kept exports of ``source`` as this build's own: hard links, so that either may be removed.

    Raises:
        BuildError: they are gone.
    """
    if not has_kept_exports(source):
        raise BuildError("The kept exports of this submission are gone.", advice="Retry the submission with a build.")
    build.exports_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    exports = [_linked(artifact, build.exports_folder) for artifact in source.artifacts.all()]
    patiently(lambda: _record(build, exports))
    Build.objects.filter(pk=build.pk, state=State.RUNNING).update(commit=source.commit, ref=source.ref, path=source.path)
    return exports


def _linked(artifact: Artifact, folder: Path) -> Export:
    path = folder / artifact.file
    path.unlink(missing_ok=True)
    try:
        os.link(artifact.path, path)
    except OSError:
        shutil.copyfile(artifact.path, path)
    return Export(artifact.role, artifact.name, path, artifact.size, artifact.sha256)


def remove(folder: Path, *, seconds: float | None = None) -> None:
    """Remove ``folder`` with all in it, also where a stranger's program has taken away the right to, or made it very deep.

    With ``seconds`` it is given up after that time: what is left is left for later.

    By programs: Python's own functions give up some hundred folders down, and where a path is longer than the system takes.
    """
    if not folder.is_dir():
        return
    for command in (["rm", "-rf"], ["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        try:
            subprocess.run(
                [*command, "--", str(folder)], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return
        if not folder.exists():
            return
