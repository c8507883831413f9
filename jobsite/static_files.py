"""Static files with a checksum in their names, and compressed. Browsers may keep them for ever, because a changed file has another name.

They are in a folder of the release, which ``python -m jobsite.static_files`` makes; ``make setup`` runs it. Without that folder, or after
a file was edited, the files are served from where they are written, under their own names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
SOURCES = BASE_DIR / "builds" / "static"
COLLECTED = BASE_DIR / "staticfiles"
COLLECTED_STORAGE = "jobsite.static_serving.Storage"
PLAIN_STORAGE = "django.contrib.staticfiles.storage.StaticFilesStorage"
# Our pages use none of these files. The web server holds a prepared response for every collected file in memory.
LEFT_OUT = ("django_rq", "rest_framework", "admin/js/vendor/select2/i18n/[!e]*", "admin/js/vendor/select2/i18n/e[!n]*")
# What the settings need to be read. Nothing of it is used.
ENVIRONMENT = {
    "SECRET_KEY": "not-used",
    "INTERNAL_SERVICE_SECRET": "not-used",
    "DATABASE_URL": "sqlite:///:memory:",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


def folder() -> Path:
    """Where the collected files of this release are, if they are collected. Its name is a checksum of their sources."""
    found = hashlib.sha256(f"{django.__version__} {sys.version}".encode())
    for path in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
        found.update(f"\0{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return COLLECTED / found.hexdigest()[:16]


def find() -> tuple[str | None, str]:
    """The folder of the collected files, and the storage that knows the names of the files. None if nothing is collected."""
    there = folder()
    return (str(there), COLLECTED_STORAGE) if os.access(there / "staticfiles.json", os.R_OK) else (None, PLAIN_STORAGE)


def collect() -> None:
    """Collect the files of all apps, and remove those of other sources. Another process sees them when all are there."""
    target = folder()
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    os.environ.update(ENVIRONMENT, DJANGO_SETTINGS_MODULE="jobsite.settings")
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - needs the environment
    from django.core.management import call_command  # noqa: PLC0415

    settings.STATIC_ROOT = str(part)
    settings.STORAGES["staticfiles"]["BACKEND"] = COLLECTED_STORAGE
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=[*LEFT_OUT])
    # Whoever installs may not be the user that serves. Nothing here is a secret.
    for path in [part, *part.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    COLLECTED.chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for other in COLLECTED.iterdir():
        if other != target:
            shutil.rmtree(other)


if __name__ == "__main__":
    collect()
