"""Exports in a bucket of a real S3-compatible service: kept, shown, previewed and delivered without a file on this machine."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import storages
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.engine.manuscript.exports import Export
from builds.errors import ExportsUnavailable
from builds.models import Build, Mode, State
from builds.record import kept_exports
from builds.record.exports_bucket import BLOCK
from tests.e2e.clock import Clock
from tests.support import object_store, quick
from tests.support.in_process import Bench, opened, stages, statuses
from tests.support.made import started
from tests.support.rows import submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with object_store.object_store() as address:
        yield address


@pytest.fixture
def bucket(address: str, settings: Any, tmp_path: Path) -> Any:
    """The storage is the bucket. Returns an independent client, which lists no objects."""
    settings.DATA_DIR = tmp_path
    use_bucket(settings, address)
    client: Any = object_store.client(address)
    for each in client.list_objects_v2(Bucket="exports").get("Contents", ()):
        client.delete_object(Bucket="exports", Key=each["Key"])
    return client


def use_bucket(settings: Any, address: str, **changes: Any) -> None:
    options = {"bucket_name": "exports", "location": "kept", "endpoint_url": address, "region_name": object_store.REGION}
    options |= {"access_key": object_store.KEY, "secret_key": object_store.SECRET, "addressing_style": "path", **changes}
    backend = {"BACKEND": "builds.record.exports_bucket.ExportsBucket", "OPTIONS": options}
    settings.STORAGES = {**django_settings.STORAGES, "exports": backend}


def keys(bucket: Any) -> list[str]:
    return [each["Key"] for each in bucket.list_objects_v2(Bucket="exports").get("Contents", ())]


@pytest.fixture
def bench(bucket: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(settings, monkeypatch) as bench:
        yield bench


def test_a_build_keeps_and_delivers_and_another_machine_delivers_again(
    bench: Bench, bucket: Any, settings: Any, tmp_path: Path
) -> None:
    submission = bench.submission()
    build = bench.run(submission)
    assert (build.state, statuses(submission)) == (State.SUCCEEDED, ["COMPLETED"])
    assert sorted(keys(bucket)) == [f"kept/{build.pk}/1-meca.zip", f"kept/{build.pk}/2-page-content.json"]
    assert not (tmp_path / "exports").exists()
    settings.DATA_DIR = tmp_path / "another machine"
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    again = bench.run(submission)
    assert (again.state, stages(again)) == (State.SUCCEEDED, [("deliver", "succeeded")])
    first, second = bench.desci.deliveries["job-1"]
    assert [(p.filename, p.sha256) for p in first.parts] == [(p.filename, p.sha256) for p in second.parts]
    assert len(keys(bucket)) == 2, "they are not stored twice"


def test_exports_that_are_gone_are_built_again_from_the_same_commit(bench: Bench, bucket: Any) -> None:
    submission = bench.submission()
    source = bench.run(submission)
    lifecycle.retry(submission, Mode.DELIVER, actor="ed")
    bucket.delete_object(Bucket="exports", Key=keys(bucket)[0])
    build = bench.run(submission)
    assert (build.state, build.mode, build.commit) == (State.SUCCEEDED, Mode.SAME_COMMIT, source.commit)


def test_a_service_that_is_away_is_no_fault_of_the_author_and_is_tried_again(bench: Bench, settings: Any) -> None:
    use_bucket(settings, "http://127.0.0.1:1")
    build = bench.run(bench.submission())
    assert (build.fault, build.cause_code) == ("service", "exports-unavailable")
    assert build.submission.newest_build().automatic


def kept(tmp_path: Path, data: bytes, role: str = "meca", suffix: str = ".zip") -> Build:
    """A running build with one kept export."""
    build = started(submit(exports=quick.EXPORTS))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    kept_exports.keep(build, [Export(role, f"exports/a{suffix}", path, len(data), "0" * 64)])
    assert not path.exists()
    return build


def test_a_file_is_read_from_any_place_with_few_requests(bucket: Any, tmp_path: Path) -> None:
    data = os.urandom(3 * BLOCK + 5)
    [artifact] = kept(tmp_path, data).artifacts.all()
    found = kept_exports.find(artifact)
    assert found is not None
    with found.open() as file:
        assert file.read() == data
        assert file.seek(-7, io.SEEK_END) == len(data) - 7
        assert file.read(100) == data[-7:]
        file.seek(BLOCK - 3)
        assert file.read(6) == data[BLOCK - 3 : BLOCK + 3]
    bucket.delete_object(Bucket="exports", Key=keys(bucket)[0])
    assert kept_exports.find(artifact) is None
    with pytest.raises(FileNotFoundError):
        found.open()


@pytest.fixture
def viewer(django_user_model: Any) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(django_user_model.objects.create_superuser("ada"))
    return client


def test_pages_show_and_send_what_is_in_the_bucket(bucket: Any, viewer: Client, tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("bundle/index.md", "# A heading\n")
        archive.writestr("bundle/large.bin", os.urandom(2 * BLOCK))
    build = kept(tmp_path, data.getvalue())
    page = f"/submissions/{build.submission_id}/attempts/1/exports/1/"
    download: Any = viewer.get(page)
    assert b"".join(download.streaming_content) == data.getvalue()
    assert "index.md" in viewer.get(f"{page}preview/").text
    assert "A heading" in viewer.get(f"{page}preview/?entry=bundle/index.md").text
    assert "Download" in viewer.get(f"/submissions/{build.submission_id}/").text
    bucket.delete_object(Bucket="exports", Key=keys(bucket)[0])
    assert viewer.get(page).status_code == 404


def test_pages_say_that_the_service_is_away(bucket: Any, viewer: Client, tmp_path: Path, settings: Any) -> None:
    build = kept(tmp_path, b"%PDF-1.7", "pdf", ".pdf")
    use_bucket(settings, "http://127.0.0.1:1")
    page = f"/submissions/{build.submission_id}/"
    assert viewer.get(page).status_code == 200
    answer = viewer.get(f"{page}attempts/1/exports/1/")
    assert (answer.status_code, "kept exports" in answer.text) == (503, True)


def test_old_exports_are_removed_from_the_bucket(bucket: Any, tmp_path: Path) -> None:
    build = kept(tmp_path, b"%PDF-1.7", "pdf", ".pdf")
    lifecycle.succeed(build)
    assert kept_exports.find_old() == []
    bucket.put_object(Bucket="exports", Key="kept/not-a-build/file", Body=b"")
    Build.objects.update(finished_at=timezone.now() - timedelta(days=91))
    assert kept_exports.find_old() == [str(build.pk)]
    kept_exports.remove(str(build.pk))
    kept_exports.remove(str(build.pk))
    assert keys(bucket) == ["kept/not-a-build/file"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"bucket_name": "another"}, "The bucket another does not exist"),
        ({"secret_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "can't be reached"),
    ],
)
def test_what_is_wrong_with_the_bucket_is_said(bucket: Any, address: str, settings: Any, changes: Any, words: str) -> None:
    use_bucket(settings, address, **changes)
    problem = kept_exports.problem()
    assert (words in problem) if words else not problem


def test_an_answer_of_the_service_is_quoted(bucket: Any, address: str, settings: Any) -> None:
    use_bucket(settings, address, secret_key="wrong")
    with pytest.raises(ExportsUnavailable, match="SignatureDoesNotMatch"):
        storages["exports"].listdir("")


@pytest.mark.skipif(bool(Clock.missing()), reason=Clock.missing() or "there is a clock")
def test_a_clock_that_is_wrong_by_an_hour_is_named(bucket: Any, address: str, tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    clock.step_to(3600)
    script = "import json; from builds.record import kept_exports; print(json.dumps(kept_exports.problem()))"
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "any", "DATA_DIR": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1"}
    environment |= {**clock.environment, **object_store.settings_of(address)}
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", script]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, cwd=django_settings.BASE_DIR)
    assert "clock is wrong" in json.loads(done.stdout)
