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
"""
LOAD = """
from builds.service.preload import load_all
load_all()
"""
STORAGE = """
print(*sorted(name for name in ("builds.desk.urls", "builds.record.exports_bucket") if name in sys.modules))
"""
# What no process needs, or only one for what it does: other packages load it because it is installed. Together it takes 20 MB.
NEEDLESS = (
    "builds.api.schema",
    "charset_normalizer",
    "django.test",
    "drf_spectacular.openapi",
    "drf_spectacular.plumbing",
    "markdown",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "pygments",
    "unittest",
    "yaml",
)
# Modules that a first request or job would load otherwise.
NEEDED_LATER = ("builds.tasks", "django.contrib.messages.storage.cookie", "django.contrib.sessions.serializers", "landlockpy")
MODULES = f"""
import builds.service.serve
print(*[name for name in {NEEDLESS} if name in sys.modules])
print(*[name for name in {NEEDED_LATER} if name not in sys.modules])
from builds.api import openapi
print(len(openapi.document()["paths"]), "builds.api.schema" in sys.modules)
"""
TEMPLATES = """
from django.forms.renderers import get_default_renderer
from django.template import engines
for engine in (engines["django"].engine, get_default_renderer().engine.engine):
    [loader] = engine.template_loaders
    names = sorted(loader.get_template_cache)
    print(len(names), *[name for name in names if name.startswith(("django_rq", "rest_framework", "drf_spectacular"))])
    print(*[name for name in ("base.html", "admin/change_form.html", "django/forms/widgets/text.html") if name in names])
"""
MISTAKE = """
from django.core.checks import Error, register
register(lambda app_configs, **options: [Error("this setting is a mistake")])
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


def loaded(
    folder: Path, refused: set[str], *, before: str = "", after: str = STORAGE, **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 30, "DATA_DIR": str(folder), **settings}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "INTERNAL_SERVICE_SECRET": "s" * 30}
    command = [sys.executable, "-c", SCRIPT + before + LOAD + after, ",".join(sorted(refused))]
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


@pytest.mark.slow
def test_what_only_other_packages_would_load_is_not_in_memory(tmp_path: Path) -> None:
    done = loaded(tmp_path, set(), after=MODULES)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["", "", "7 False"]), done.stderr


@pytest.mark.slow
def test_what_metrics_need_is_loaded_where_they_are_on(tmp_path: Path) -> None:
    done = loaded(tmp_path, set(), after=MODULES, METRICS_TOKEN="t" * 30)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["prometheus_client", "", "7 False"]), done.stderr


@pytest.mark.slow
def test_each_template_is_compiled_once_where_it_is_used(tmp_path: Path) -> None:
    done = loaded(tmp_path, set(), after=TEMPLATES)
    pages, of_pages, forms, of_forms = done.stdout.splitlines()
    assert (pages.split()[1:], of_pages) == ([], "base.html admin/change_form.html"), done.stderr
    assert (forms.split()[1:], of_forms) == ([], "django/forms/widgets/text.html")


@pytest.mark.slow
def test_a_mistake_that_djangos_checks_find_ends_the_start(tmp_path: Path) -> None:
    done = loaded(tmp_path, set(), before=MISTAKE)
    assert done.returncode == 1
    assert "this setting is a mistake" in done.stderr


@pytest.mark.skipif(not Path("/usr/share/zoneinfo").is_dir(), reason="the time zones are elsewhere here")
@pytest.mark.slow
def test_programs_know_where_time_zones_are(tmp_path: Path) -> None:
    """Otherwise zoneinfo asks how Python was compiled."""
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 30, "DATA_DIR": str(tmp_path)}
    code = "import sys, zoneinfo; print(zoneinfo.ZoneInfo('Europe/Berlin'), *[n for n in sys.modules if n.startswith('_sysconfigdata')])"
    command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True, text=True)
    assert done.stdout == "Europe/Berlin\n"


@pytest.mark.parametrize("name", ["serve", "web", "worker", "outbox", "reconciler"])
def test_no_program_runs_djangos_checks_by_itself(name: str) -> None:
    """They load every page, which takes 20 MB. They are run where the pages are loaded, once for all processes of the web server."""
    assert load_command_class("builds", name).requires_system_checks == []
