"""``manage.py build``: one manuscript in a terminal, as the service would build it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.support.zip_files import zipped

pytestmark = pytest.mark.slow

PROJECT = b"""version: 1
project:
  title: A title
  exports:
    - format: meca
      output: exports/paper.zip
"""
PAGE = b"---\ntitle: A title\n---\n\n## Introduction\n\nPaint dries slowly.\n"


@pytest.fixture
def manuscript(tmp_path: Path) -> Path:
    return zipped(tmp_path / "paper.zip", ("repo-main/myst.yml", PROJECT), ("repo-main/index.md", PAGE))


def build(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "build", *arguments, "--to", str(tmp_path / "made")]
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "any", "DATA_DIR": str(tmp_path / "data")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def result(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = build(tmp_path, *arguments, "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_build_that_succeeds_is_one_json_object(tmp_path: Path, manuscript: Path) -> None:
    code, made = result(tmp_path, str(manuscript))
    assert (code, made["state"], made["cause"], made["problems"]) == (0, "succeeded", None, 0)
    assert {export["role"]: Path(export["path"]).stat().st_size for export in made["exports"]} == {
        export["role"]: export["size"] for export in made["exports"]
    }
    assert {export["role"] for export in made["exports"]} == {"meca", "page-content"}
    assert set(made["seconds"]) == {"fetch", "unpack", "build", "collect", "total"}


def test_a_build_that_fails_says_its_cause(tmp_path: Path) -> None:
    source = zipped(tmp_path / "paper.zip", ("repo-main/myst.yml", b"title: No version\n"), ("repo-main/index.md", PAGE))
    code, made = result(tmp_path, str(source))
    assert (code, made["state"], made["exports"]) == (1, "failed", [])
    assert (made["cause"]["class"], made["cause"]["file"]) == ("manuscript", "myst.yml")
    assert made["cause"]["text"].endswith(".")


def test_the_project_file_can_be_named(tmp_path: Path, manuscript: Path) -> None:
    code, made = result(tmp_path, str(manuscript), "--project-file", "other/myst.yml")
    assert (code, made["cause"]["code"], made["cause"]["file"]) == (1, "project-file-missing", "other/myst.yml")


def test_without_json_it_says_what_was_made(tmp_path: Path, manuscript: Path) -> None:
    done = build(tmp_path, str(manuscript))
    assert done.returncode == 0, done.stderr
    assert "paper.zip (meca," in done.stdout
    assert "$ myst build" in done.stderr


@pytest.mark.parametrize("source", ["https://example.org/a.yml", "there-is-no-such.zip"])
def test_a_wrong_source_is_one_line(tmp_path: Path, source: str) -> None:
    done = build(tmp_path, source)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("CommandError: ")
    assert done.stderr.count("\n") == 1
