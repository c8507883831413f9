"""Static files: under names with a checksum once they are collected, and under their own names without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobsite.static_files import ENVIRONMENT
from tests.support.releases import this_release

pytestmark = pytest.mark.slow

# Asks a release for files, as a browser does, and prints what it answers.
ASK = """
import json, re, sys
import django
django.setup()
from django.templatetags.static import static
from django.test import Client

def ask(address):
    answer = Client().get(address, headers={"Accept-Encoding": "gzip"})
    kept = b"".join(answer.streaming_content) if answer.streaming else answer.content
    kinds = {name: answer.headers.get(name, "") for name in ("Cache-Control", "Content-Encoding", "Location")}
    return {"address": address, "status": answer.status_code, "size": len(kept), **kinds}

print(json.dumps([ask(address) for address in [static("desk/log.js"), *sys.argv[1:]]]))
"""


def ask(release: Path, *addresses: str) -> list[dict[str, Any]]:
    """The answers for ``desk/log.js`` by the name that pages use, and for ``addresses``."""
    environment = {**os.environ, **ENVIRONMENT, "DJANGO_SETTINGS_MODULE": "jobsite.settings"}
    command = [sys.executable, "-c", ASK, *addresses]
    run = subprocess.run(command, cwd=release, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    answers: list[dict[str, Any]] = json.loads(run.stdout)
    return answers


def test_collected_files_are_kept_for_ever_and_an_edited_file_is_not(tmp_path: Path) -> None:
    release = this_release(tmp_path / "release")
    [plain] = ask(release)
    assert (plain["address"], plain["Cache-Control"]) == ("/static/desk/log.js", "max-age=60, public")

    subprocess.run([sys.executable, "-m", "jobsite.static_files"], cwd=release, check=True)
    other = "/static/desk/log.0123456789ab.js"
    hashed, moved, *missing = ask(release, other, "/static/desk/none.0123456789ab.js", "/static/%2e%2e/log.0123456789ab.js")
    assert "immutable" in hashed["Cache-Control"]
    assert (hashed["status"], hashed["Content-Encoding"]) == (200, "gzip")
    assert hashed["size"] < plain["size"] / 2
    assert (moved["status"], moved["Location"]) == (302, hashed["address"])
    assert [answer["status"] for answer in missing] == [404, 404]
    [folder] = (release / "staticfiles").iterdir()
    assert [path for path in folder.rglob("*") if not path.stat().st_mode & 0o004] == []
    assert sorted(path.name for path in folder.iterdir()) == ["admin", "desk", "staticfiles.json"]
    assert {path.name.partition(".")[0] for path in (folder / "admin/js/vendor/select2/i18n").iterdir()} == {"en"}
    script = (folder / hashed["address"].removeprefix("/static/")).read_text()
    imported = [line.split('"')[1] for line in script.splitlines() if line.startswith("import ")]
    assert len(imported) == 4
    assert all((folder / "desk" / name).is_file() and name.count(".") == 3 for name in imported), imported

    (release / "builds/static/desk/log.js").write_text("// edited")
    assert ask(release)[0]["address"] == "/static/desk/log.js"
