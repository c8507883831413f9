"""A backup of the running service, as docs/operations/backup.md makes it, is restored elsewhere, and the service goes on from it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import BASE_DIR, SECRET, Service
from tests.e2e.test_faults import attempts, check_one_final
from tests.e2e.test_stories import submission
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.postgres import FOLDERS, postgres

pytestmark = [pytest.mark.e2e, pytest.mark.own_database]

SETTINGS = {"BUILD_COMMAND": quick.COMMAND, "WORKERS": "1"}


def manage(service: Service, *arguments: str) -> None:
    command = [sys.executable, str(BASE_DIR / "manage.py"), *arguments]
    subprocess.run(command, env=service.environment(), check=True, stdout=subprocess.DEVNULL)


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The settings for the database of the original and of the copy."""
    if kind == "sqlite":
        yield {}, {}
        return
    with postgres() as server:
        address = server.url
        copy = re.sub(r"/postgres$", "/copy", address)
        psql = [str(FOLDERS[0] / "psql"), address.replace("postgres://", "postgresql://"), "-c", "CREATE DATABASE copy"]
        subprocess.run(psql, check=True, stdout=subprocess.DEVNULL)
        yield {"DATABASE_URL": address}, {"DATABASE_URL": copy}


def back_up(service: Service, backup: Path) -> None:
    """The database first, the exports after it."""
    if address := service.environment().get("DATABASE_URL"):
        dump = [str(FOLDERS[0] / "pg_dump"), "--format=custom", f"--file={backup / 'jobsite.dump'}"]
        subprocess.run([*dump, address.replace("postgres://", "postgresql://")], check=True)
    else:
        page = (BASE_DIR / "docs" / "operations" / "backup.md").read_text()
        script = re.search(r"^manage\.py shell --no-imports -c '(.+)'$", page, re.MULTILINE)
        assert script
        manage(service, "shell", "--no-imports", "-c", script[1].replace("/backup/", f"{backup}/"))
    shutil.copytree(service.data_dir / "exports", backup / "exports")


def restore(backup: Path, service: Service) -> None:
    service.data_dir.mkdir(mode=0o700)
    shutil.copytree(backup / "exports", service.data_dir / "exports")
    if address := service.environment().get("DATABASE_URL"):
        command = [str(FOLDERS[0] / "pg_restore"), "--no-owner", f"--dbname={address.replace('postgres://', 'postgresql://')}"]
        subprocess.run([*command, str(backup / "jobsite.dump")], check=True)
    else:
        shutil.copy(backup / "jobsite.sqlite3", service.data_dir)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_is_restored_and_the_service_goes_on(kind: str, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    with ArchiveHost() as archive, DesciServer(SECRET) as desci, databases(kind, tmp_path) as (first, second):
        original = Service(tmp_path / "data", archive, desci, **SETTINGS, **first)
        original.start()
        for job_id in ("done", "waits"):
            archive.add("back", job_id, quick.repository())
        original.post(submission("done", "back/done", exports=quick.EXPORTS))
        original.wait("done", "succeeded")
        check_one_final(original, "done")
        manage(original, "rqsuspend", "--reason", "a backup")
        desci.fail(503)
        original.post(submission("waits", "back/waits", exports=quick.EXPORTS))
        back_up(original, tmp_path / "backup")
        original.stop()

        copy = Service(tmp_path / "restored", archive, desci, **SETTINGS, **second)
        restore(tmp_path / "backup", copy)
        desci.end_faults()
        copy.start()
        try:
            manage(copy, "rqresume")
            copy.wait("waits", "succeeded")
            check_one_final(copy, "waits")
            received = Counter((update.status, update.message) for update in desci.updates["waits"] if update.accepted)
            assert set(received.values()) == {1}, "each status update arrives once"
            # The backup may have been made after the outbox had seen desci-server fail: it is then left alone for a while.
            assert {attempt["mode"] for attempt in attempts(copy, "waits")[1:]} <= {"deliver"}, "it is built once"

            copy.post(submission("done", "back/done", exports=quick.EXPORTS))
            desci.wait_for(lambda server: len(server.deliveries["done"]) == 2, timeout=300)
            assert [stage["name"] for stage in attempts(copy, "done")[-1]["stages"]] == ["deliver"], (
                "the kept exports are delivered"
            )
        finally:
            copy.stop()
