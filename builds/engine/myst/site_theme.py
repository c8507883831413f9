"""Lets the command that makes the exports make the site's content too: a start of ``myst`` of its own costs more than the content.

``myst`` needs the site's theme even for the content alone. So an empty theme is put where it looks before it uses the network.
"""

from __future__ import annotations

import shutil

from builds.engine.manuscript.exports import BUILD_LOG
from builds.engine.manuscript.paths import resolve_output
from builds.engine.manuscript.project import Project
from builds.engine.manuscript.settings import read_settings
from builds.engine.manuscript.templates import find_site_template
from builds.engine.myst import toolchain
from builds.errors import ExportOutside, ExportUnwritable

SITE = "_build/site"


def provide(project: Project) -> bool:
    """Put the empty theme in the place of the site's. Returns whether ``myst`` can now make the content with the author's project file.

    It can't if that file has no site or no project, or if its theme is in the repository: that may need more than the content does.
    """
    settings = read_settings(project)
    template = find_site_template(project, settings, "") if settings.get("project") else None
    if template is None:
        return False
    try:
        target = resolve_output(project, str(template.folder))
        if target.exists() or target.is_symlink():
            return False
        shutil.copytree(toolchain.SITE_THEME, target)
    except (ExportOutside, ExportUnwritable, OSError):
        return False
    return True


def has_failed(project: Project) -> bool:
    """Whether a command failed while it made the content: then it wrote no log of its exports."""
    return (project.folder / SITE).is_dir() and not (project.folder / BUILD_LOG).is_file()
