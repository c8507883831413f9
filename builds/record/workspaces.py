"""Where a build's files lie in the data folder while it runs, and how a folder with untrusted files is removed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from django.conf import settings

from builds.engine.clients.kept_archives import KeptArchives


def workspace_of(build_id: str) -> Path:
    return Path(settings.DATA_DIR) / "workspaces" / build_id


def template_cache() -> Path:
    return Path(settings.DATA_DIR) / "cache" / "templates"


def doi_cache() -> Path:
    return Path(settings.DATA_DIR) / "cache" / "dois"


def kept_archives() -> KeptArchives | None:
    """The archives that attempts on this machine have downloaded; None if none is kept."""
    if not settings.ARCHIVES_KEPT_MAX_BYTES:
        return None
    folder = Path(settings.DATA_DIR) / "cache" / "archives"
    return KeptArchives(folder, settings.GITHUB_URL, settings.ARCHIVES_KEPT_MAX_BYTES, min_free=2 * settings.DISK_RESERVE)


def remove_folder(folder: Path, *, seconds: float | None = None) -> None:
    """Remove ``folder`` and everything in it, even if a build has taken away permissions or nested it very deeply.

    With ``seconds``, stop after that time and leave the rest for a later call.

    It calls programs because Python's own functions fail some hundred folders down, and on paths that are longer than PATH_MAX.
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
