"""Writes the table of all settings: ``python -m jobsite.settings_table > docs/settings.md``."""

from __future__ import annotations

import os
import sys

from jobsite.described import GROUPS, Setting

HEAD = """\
# Settings

Jobsite reads its settings from environment variables when it starts. With the systemd unit they are in `/etc/jobsite.env`
([operations.md](operations.md)). Each setting can also be read from a file: `NAME_FILE` names it. Secrets are often mounted that way.

`SECRET_KEY` and `INTERNAL_SERVICE_SECRET` are required in production. An invalid value prevents the start, with one line that names the
setting and says what is wrong. Switches are `yes` or `no`. Admins see the values in use, but no secrets, on the desk's page *Settings*.

This page is generated from `jobsite/described.py`: `python -m jobsite.settings_table > docs/settings.md`.
"""


def table(settings: tuple[Setting, ...]) -> str:
    """A group's table in Markdown."""
    rows = ["| name | default | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{setting.name}` | {setting.default_words} | {setting.means} |".replace("|  |", "| |") for setting in settings]
    return "\n".join(rows)


def page() -> str:
    """The whole of ``docs/settings.md``. The settings must have been read."""
    return "\n".join([HEAD, *(f"## {name}\n\n{table(settings)}\n" for name, settings in GROUPS.items())])


if __name__ == "__main__":
    os.environ.setdefault("SECRET_KEY", "any")
    from jobsite import settings  # noqa: F401 - reads them all

    sys.stdout.write(page())
