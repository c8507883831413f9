"""What a web server loads when it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from django.core.management import load_command_class

ROOT = Path(__file__).parents[2]
NEEDED = ("requirements.txt", "requirements-embedded.txt")
# Refuses to import the packages that are named on the command line, then loads everything, and prints what was loaded of them.
SCRIPT = """
import sys
refused = set(sys.argv[1].split(","))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
import django
django.setup()
from builds.service.preload import load_all
load_all()
print(*sorted(name for name in ("builds.desk.urls", "builds.record.exports_bucket") if name in sys.modules))
"""


def required(*files: str) -> set[str]:
    """The names of the packages that these requirements files pin."""
    found = (re.match(r"[a-z0-9._-]+(?===)", line.lower()) for file in files for line in (ROOT / file).read_text().splitlines())
    return {match.group() for match in found if match}


def optional() -> Iterator[str]:
    """The modules of the packages that an installation may lack."""
    options = [path.name for path in ROOT.glob("requirements-*.txt") if path.name not in (*NEEDED, "requirements-dev.txt")]
    lacking = required(*options) - required(*NEEDED)
    for module, packages in packages_distributions().items():
        if {name.lower().replace("_", "-") for name in packages} <= lacking:
            yield module


def loaded(folder: Path, refused: set[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 30, "DATA_DIR": str(folder), **settings}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "INTERNAL_SERVICE_SECRET": "s" * 30}
    command = [sys.executable, "-c", SCRIPT, ",".join(sorted(refused))]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_everything_is_loaded_without_the_optional_packages(tmp_path: Path) -> None:
    refused = set(optional())
    assert {"boto3", "psycopg", "authlib", "sentry_sdk"} <= refused
    done = loaded(tmp_path, refused)
    assert (done.returncode, done.stdout.split()) == (0, ["builds.desk.urls"]), done.stderr


@pytest.mark.slow
def test_the_storage_in_a_bucket_is_loaded_where_it_is_used(tmp_path: Path) -> None:
    names = ("ENDPOINT", "REGION", "ACCESS_KEY", "SECRET_KEY")
    settings = {f"EXPORTS_S3_{name}": "http://127.0.0.1:1" if name == "ENDPOINT" else "any" for name in names}
    done = loaded(tmp_path, set(), EXPORTS_STORAGE="s3://exports/kept", **settings)
    assert (done.returncode, done.stdout.split()) == (0, ["builds.desk.urls", "builds.record.exports_bucket"]), done.stderr


@pytest.mark.parametrize("name", ["serve", "worker", "outbox", "reconciler"])
def test_programs_without_pages_do_not_load_them(name: str) -> None:
    """Django's checks load every page, which takes 20 MB. The web processes run them."""
    assert load_command_class("builds", name).requires_system_checks == []
