"""Where kept exports lie in the folder of the tests."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from builds.models import Artifact, Build


def folder_of(build: Build) -> Path:
    return Path(settings.DATA_DIR) / "exports" / str(build.pk)


def path_of(artifact: Artifact) -> Path:
    """An artifact's row names its file with or without the folder of the build that made it."""
    return folder_of(artifact.build).parent / artifact.file if "/" in artifact.file else folder_of(artifact.build) / artifact.file
