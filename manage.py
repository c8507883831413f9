#!/usr/bin/env python
"""Django's command line."""

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import InterfaceError, OperationalError

from builds.lib import release  # noqa: F401 - before the settings: it remembers the files that this process starts from

ZONES = Path("/usr/share/zoneinfo")


def main() -> None:
    """Run the command. A database that can't be used ends it with one line, as a wrong setting does."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")
    # This is Python's default. To find it, zoneinfo would load all that Python was compiled with, and keep 0.6 MB of it.
    if ZONES.is_dir():
        os.environ.setdefault("PYTHONTZPATH", str(ZONES))
    try:
        execute_from_command_line(sys.argv)
    except (OperationalError, InterfaceError, ImproperlyConfigured) as error:
        raise SystemExit(f"jobsite: the database can't be used: {' '.join(str(error).split())}") from None


if __name__ == "__main__":
    main()
