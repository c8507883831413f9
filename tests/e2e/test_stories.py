"""Submissions from start to end in the real service: all processes, and real HTTP on both sides."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import WAIT_SECONDS, Service

pytestmark = pytest.mark.e2e

MYST = "version: 1\nproject:\n  title: T\n"
SAMPLE = Path(__file__).parent.parent / "sample"
MANUSCRIPTS = Path(__file__).parents[3] / "shared" / "manuscripts"
SAMPLE_EXPORTS = [
    {"format": "meca", "output": "exports/sample.meca.zip"},
    {"format": "jats", "output": "exports/sample.xml"},
    {"format": "typst", "output": "exports/sample.pdf", "template": "./template"},
]


def submission(job_id: str, repository: str, **changes: Any) -> dict[str, Any]:
    return {
        "url": f"https://github.com/{repository}/blob/main/myst.yml",
        "jobId": job_id,
        "uuid": f"node-{job_id}.",
        "parsedDocument": {"title": f"Title of {job_id}", "exports": changes.pop("exports", [])},
        **changes,
    }


def statuses(service: Service, job_id: str) -> list[str]:
    return [update.status for update in service.desci.updates[job_id] if update.accepted]


def test_the_delivered_sample_equals_what_myst_itself_makes(service: Service) -> None:
    service.archive.add("jobsite", "sample", SAMPLE)
    service.post(submission("sample", "jobsite/sample", exports=SAMPLE_EXPORTS))
    service.wait("sample", "succeeded")
    service.desci.wait_for(lambda server: "COMPLETED" in [u.status for u in server.updates["sample"]], timeout=WAIT_SECONDS)
    [delivery] = service.desci.deliveries["sample"]
    names = [part.filename for part in delivery.parts]
    assert names[0] == "sample.pdf"
    assert names[-1] == "index.json"
    assert all(name.startswith("/exports/sample.meca/") for name in names[1:-1])
    assert {
        "/exports/sample.meca/manifest.xml",
        "/exports/sample.meca/sample.xml",
        "/exports/sample.meca/bundle/myst.yml",
    } <= set(names)
    assert delivery.fields == {"uuid": "node-sample.", "contextPath": "root"}
    status = service.status("sample")
    assert status["state"] == "succeeded"
    pdf = next(export for export in status["exports"] if export["role"] == "typst")
    assert hashlib.sha256(Path(delivery.parts[0].path).read_bytes()).hexdigest() == pdf["sha256"]
    assert statuses(service, "sample")[-1] == "COMPLETED"
    assert statuses(service, "sample").count("COMPLETED") == 1


def test_the_delivered_files_are_byte_equal_to_those_of_the_build(service: Service) -> None:
    """The kept MECA is the file that myst wrote. Every part of the delivery equals its member."""
    service.archive.add("jobsite", "equal", SAMPLE)
    service.post(submission("equal", "jobsite/equal", exports=SAMPLE_EXPORTS))
    service.wait("equal", "succeeded")
    [kept] = (
        service.data_dir.glob("exports/*/*-meca.zip")
        if len(list(service.data_dir.glob("exports/*"))) == 1
        else [path for path in service.data_dir.glob("exports/*/*-meca.zip") if _sha256(path) == _meca_sha256(service, "equal")]
    )
    parts = {part.filename: part.sha256 for part in service.desci.deliveries["equal"][-1].parts}
    with zipfile.ZipFile(kept) as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
        members = {f"/exports/sample.meca/{name}": hashlib.sha256(archive.read(name)).hexdigest() for name in files}
    assert {name: parts[name] for name in members} == members
    assert len(parts) == len(members) + 2


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _meca_sha256(service: Service, job_id: str) -> str:
    return next(str(export["sha256"]) for export in service.status(job_id)["exports"] if export["role"] == "meca")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        (
            "https://github.com/no/such/blob/main/myst.yml",
            "archive-not-found",
            "repository, branch or file not found, or private",
        ),
        ("https://github.com/jobsite/plain/blob/none/myst.yml", "archive-not-found", "not found"),
        ("https://github.com/jobsite/plain/blob/main/other.yml", "project-file-missing", "other.yml"),
    ],
)
def test_a_repository_that_cannot_be_fetched_fails_with_its_cause(service: Service, url: str, code: str, words: str) -> None:
    service.archive.add("jobsite", "plain", {"myst.yml": MYST, "index.md": "# P\n"})
    job_id = f"gone-{code}-{len(url)}"
    service.post(submission(job_id, "jobsite/plain", url=url))
    status = service.wait(job_id, "failed")
    assert (status["cause"]["code"], status["cause"]["fault"]) == (code, "manuscript")
    assert words.lower() in status["cause"]["sentence"].lower()
    service.desci.wait_for(lambda server: [u.status for u in server.updates[job_id]][-1:] == ["FAILED"], timeout=WAIT_SECONDS)
    message = service.desci.updates[job_id][-1].message
    assert status["cause"]["sentence"] in message
    assert service.url in message or "http" in message


def test_a_failed_build_is_reported_once_and_delivers_nothing(service: Service) -> None:
    service.archive.add("jobsite", "broken", {"myst.yml": "version: 1\nproject: [\n", "index.md": "# P\n"})
    service.post(submission("broken", "jobsite/broken"))
    service.wait("broken", "failed")
    service.desci.wait_for(lambda server: [u.status for u in server.updates["broken"]][-1:] == ["FAILED"], timeout=WAIT_SECONDS)
    assert statuses(service, "broken").count("FAILED") == 1
    assert service.desci.updates["broken"][-1].message.startswith("Failed to build the repo files")
    assert not service.desci.deliveries.get("broken")


def test_desci_server_answering_500_for_a_while_loses_nothing(service: Service) -> None:
    service.archive.add("jobsite", "patient", {"myst.yml": MYST, "index.md": "# P\n"})
    service.desci.fail(status=500, for_seconds=6)
    service.post(submission("patient", "jobsite/patient"))
    service.wait("patient", "succeeded")
    service.desci.wait_for(lambda server: statuses(service, "patient")[-1:] == ["COMPLETED"], timeout=WAIT_SECONDS)
    assert len(service.desci.deliveries["patient"]) == 1


def test_job_not_found_cancels_the_build_and_nothing_is_delivered(service: Service) -> None:
    service.archive.add("jobsite", "unwanted", {"myst.yml": MYST, "index.md": "# P\n"})
    service.desci.forget("unwanted")
    service.post(submission("unwanted", "jobsite/unwanted"))
    service.wait("unwanted", "cancelled")
    assert not service.desci.deliveries.get("unwanted")


def test_a_succeeded_submission_sent_again_is_delivered_without_a_build(service: Service) -> None:
    service.archive.add("jobsite", "again", {"myst.yml": MYST, "index.md": "# P\n"})
    service.post(submission("again", "jobsite/again"))
    service.wait("again", "succeeded")
    service.post(submission("again", "jobsite/again"))
    service.desci.wait_for(lambda server: len(server.deliveries["again"]) == 2, timeout=WAIT_SECONDS)
    first, second = service.desci.deliveries["again"]
    assert [(p.filename, p.sha256) for p in first.parts] == [(p.filename, p.sha256) for p in second.parts]
    attempts = service.wait("again", "succeeded")["attempts"]
    assert [attempt["mode"] for attempt in sorted(attempts, key=lambda a: a["number"])] == ["latest", "deliver"]


def test_the_log_can_be_read_from_a_given_line(service: Service) -> None:
    service.archive.add("jobsite", "logged", {"myst.yml": MYST, "index.md": "# P\n"})
    service.post(submission("logged", "jobsite/logged"))
    service.wait("logged", "succeeded")
    whole, rest = service.log("logged").splitlines(), service.log("logged", first_line=3).splitlines()
    assert len(whole) > 5
    assert rest == whole[2:]


@pytest.mark.parametrize("archive", ["myst-examples__outputs", "neurolibre__mystical-article", "roboneurolibre__amateur-science"])
def test_a_real_manuscript_is_delivered(service: Service, archive: str) -> None:
    path = MANUSCRIPTS / f"{archive}.zip"
    if not path.is_file():
        pytest.skip(f"the real manuscript {archive} is not beside this checkout")
    owner, repository = archive.split("__")
    service.archive.add_zip(owner, repository, "main", path.read_bytes())
    service.post(submission(archive, f"{owner}/{repository}"))
    service.wait(archive, "succeeded")
    parts = {part.filename: part for part in service.desci.deliveries[archive][-1].parts}
    assert {"/exports/manuscript.meca/manifest.xml", "/exports/manuscript.meca/article.xml", "index.json"} <= set(parts)
    assert json.loads(Path(parts["index.json"].path).read_text())["kind"] == "Article"
