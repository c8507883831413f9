"""Untrusted text in every place that shows it: it is harmless in every page, table, file, message and header."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client

from builds import lifecycle
from builds.desk.submissions.table import COLUMNS
from builds.engine.manuscript import front_matter
from builds.engine.process.lines import LineSplitter
from builds.errors import Cause, Fault
from builds.lib.text import one_line
from builds.models import Artifact, Build, Mode, StatusUpdate, StatusUpdateTry, Submission
from tests.api.conftest import SECRET, SUBMISSIONS
from tests.support import made, written
from tests.support.nasty import CONTROLS, MARK, STRINGS, Page

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

ESCAPED = "&lt;script&gt;" + MARK
ACTIONS = ("/delete/", "/logout/", "/sign-out/", "/live/")


def post(number: int, text: str) -> Submission:
    """Submit as desci-server does, with ``text`` in every field that an author writes, and in the ids as far as allowed."""
    name = one_line(text, 60).replace("/", "") or "empty"
    author = {"name": text, "orcid": text, "email": text, "affiliation": text, "affiliations": [text]}
    document = {"title": text, "description": text, "authors": [author], "keywords": [text], "license": text, text: text}
    document["exports"] = [{"format": text, "output": text}, text]
    body = {
        "url": f"https://github.com/lab/paper-{number}/blob/main/myst.yml",
        "jobId": f"{name}-{number}",
        "uuid": f"{name}-{number}.",
        "parsedDocument": document,
    }
    answer = Client().post(SUBMISSIONS, json.dumps(body), "application/json", headers={"X-Internal-Secret": SECRET})
    assert answer.status_code == 202, answer.text
    return Submission.objects.get(job_id=body["jobId"])


def build(submission: Submission, text: str) -> Build:
    """A failed build with ``text`` in its output, its cause and every answer."""
    stored = str(front_matter.storable(text))
    running = lifecycle.claim(str(submission.newest_build().pk), worker="host:1")
    assert running is not None
    lifecycle.pin(running, commit=made.COMMIT, ref="main", path="myst.yml")
    lines = LineSplitter()
    output = [*lines.feed(text.encode("utf-8", "surrogatepass") + b"\n"), *lines.flush()]
    written.stage(running, "build", output, ends="failed")
    made.keep(running, 1, "pdf", stored[:1500] + ".pdf", b"%PDF-1.7 content")
    lifecycle.fail(running, Cause(Fault.MANUSCRIPT, "build-failed", stored, stored, stored[:400], 1, 1), stage="build")
    for update in running.status_updates.all():
        StatusUpdateTry.objects.create(status_update=update, code=500, body=stored, seconds=0.1)
    lifecycle.retry(submission, Mode.LATEST, actor="ada", reason=stored[:900])
    lifecycle.request_cancel(submission.newest_build(), actor="ada", reason=stored[:900])
    running.refresh_from_db()
    return running


@pytest.fixture
def builds(settings: Any, tmp_path: Path) -> list[Build]:
    settings.DATA_DIR = tmp_path
    return [build(post(number, text), text) for number, text in enumerate(STRINGS)]


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def pages(reader: Client, *starts: str) -> Iterator[tuple[str, Any]]:
    """Every page that links lead to, each address once."""
    waiting, seen = list(starts), set(starts)
    while waiting:
        address = waiting.pop()
        answer = reader.get(address)
        yield address, answer
        if not answer.get("Content-Type", "").startswith("text/html"):
            answer.getvalue()
            continue
        for link in Page(answer.text).links:
            parts = urlsplit(urljoin(f"http://testserver{address}", link))
            if parts.netloc == "testserver" and parts.path not in seen and not parts.path.endswith(ACTIONS):
                seen.add(parts.path)
                waiting.append(parts.path)


@pytest.mark.usefixtures("store")
def test_no_page_runs_untrusted_text(reader: Client, builds: list[Build]) -> None:
    problems: list[str] = []
    shown = 0
    for address, answer in pages(reader, "/submissions/", "/overview/", "/queue/", "/admin/"):
        assert answer.status_code < 500, address
        for name, value in answer.headers.items():
            assert not CONTROLS.search(value) and "\n" not in value, (address, name)
        if answer.get("Content-Type", "").startswith("text/html"):
            shown += ESCAPED in answer.text
            assert "script-src 'self'" in answer["Content-Security-Policy"] or "sandbox" in answer["Content-Security-Policy"]
            problems += [f"{address}: {problem}" for problem in Page(answer.text).problems]
    assert problems == []
    assert shown > 10


@pytest.mark.parametrize("part", ["live/", ""])
def test_no_live_part_runs_untrusted_text(reader: Client, builds: list[Build], part: str) -> None:
    for one in builds:
        attempt = f"/submissions/{one.submission_id}/attempts/{one.number}"
        for address in (f"/submissions/{part}", f"/submissions/{one.submission_id}/{part}", f"{attempt}/log/lines/?from=1"):
            answer = reader.get(address)
            assert (answer.status_code, Page(answer.text).problems) == (200, []), address


def test_search_text_is_shown_and_never_runs(reader: Client, builds: list[Build]) -> None:
    """It stays inside its input field, even if it changes the text direction."""
    attempt = f"/submissions/{builds[0].submission_id}/attempts/1"
    for asked in (text.encode("utf-8", "replace").decode()[:2000] for text in STRINGS):
        for address in ("/submissions/", "/admin/builds/submission/", f"{attempt}/log/search/", f"{attempt}/log/go/"):
            answer = reader.get(address, {"q": asked, "state": asked, "line": asked})
            assert answer.status_code < 500, address
            if answer.get("Content-Type", "").startswith("text/html"):
                assert Page(answer.text).active == [], (address, asked)


def test_no_cell_of_the_csv_is_a_formula_or_breaks_out(reader: Client, builds: list[Build]) -> None:
    text = b"".join(reader.get("/submissions/csv/")).decode("utf-8-sig")
    table = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in table} == {len(COLUMNS)}
    assert len(table) == len(STRINGS) + 1
    for cell in (cell for row in table for cell in row):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")), cell
        assert not CONTROLS.search(cell)
    # Where semicolons separate cells, as in much of Europe, no new cell starts inside one of these.
    assert not any(cell.lstrip().startswith("=") for row in csv.reader(io.StringIO(text), delimiter=";") for cell in row[1:])


def test_the_log_file_is_safe_on_a_terminal(reader: Client, builds: list[Build]) -> None:
    for one in builds:
        answer = reader.get(f"/submissions/{one.submission_id}/attempts/{one.number}/log.txt")
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert not CONTROLS.search(b"".join(answer).decode())


def test_file_names_stay_inside_their_header(reader: Client, builds: list[Build]) -> None:
    for artifact in Artifact.objects.select_related("build"):
        address = f"/submissions/{artifact.build.submission_id}/attempts/{artifact.build.number}/exports/1/"
        answer = reader.get(address)
        answer.getvalue()
        disposition = answer["Content-Disposition"]
        assert disposition.startswith("attachment; filename")
        assert not CONTROLS.search(disposition)
        assert "/" not in disposition.replace("utf-8''", "") and "\n" not in disposition and "\r" not in disposition


def test_every_message_sent_is_a_single_line(builds: list[Build]) -> None:
    messages = list(StatusUpdate.objects.values_list("message", flat=True))
    assert len(messages) > len(STRINGS)
    for message in messages:
        assert not CONTROLS.search(message) and "\n" not in message and "\r" not in message, repr(message)[:200]
        assert len(message) < 10_000


def test_api_responses_are_harmless_in_a_browser_and_on_a_terminal(builds: list[Build]) -> None:
    for one in builds:
        for path in ("", "/log?attempt=1"):
            answer = Client().get(f"{SUBMISSIONS}/{one.submission.job_id}{path}", headers={"X-Internal-Secret": SECRET})
            assert answer.status_code == 200
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert not answer["Content-Type"].startswith("text/html")
            assert not CONTROLS.search(answer.getvalue().decode())
