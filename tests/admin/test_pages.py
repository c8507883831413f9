"""The page of a submission, a build and a status update. Authors' texts are never markup."""

from __future__ import annotations

import html
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from builds import lifecycle
from builds.lib.json_text import indented
from builds.models import Build, Event, FrontMatter, Mode, StatusUpdateTry, Submission
from tests.admin.conftest import BIDI, COMMIT, SCRIPT, MakeBuild, claimed, ran, submit


def page(client: Client, row: Submission | Build, status: int = 200) -> str:
    response = client.get(reverse(f"admin:builds_{row._meta.model_name}_change", args=[row.pk]))
    assert response.status_code == status
    return response.content.decode()


def words(markup: str) -> str:
    """The visible text of a page, in one line."""
    return " ".join(html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", markup, flags=re.S)).split())


def test_the_link_in_messages_leads_to_the_submission(admin_page: Client, build: Build) -> None:
    address = build.submission.link.removeprefix("http://localhost:5454")
    assert admin_page.get(address).status_code == 200


def test_submission_page_shows_everything(admin_page: Client, build: Build) -> None:
    text = page(admin_page, build.submission)
    for part in (
        "On builds 1",
        "Ada (0000-0001)",
        "job-1",
        "node-1.",
        "Failed",
        "It broke at",
        "the newest commit of the branch",
    ):
        assert part in words(text)
    assert f'<a href="{build.submission.url}"' in text
    assert f'<a href="https://github.com/lab/paper-1/commit/{COMMIT}"' in text
    assert f'<a href="/admin/builds/build/{build.pk}/change/"' in text


def test_submission_page_shows_history_and_tries(admin_page: Client, build: Build) -> None:
    text = words(page(admin_page, build.submission))
    assert all(part in text for part in ("submitted desci-server", "started worker-7", "failed worker-7"))
    assert "code 503, after 0.25 s busy <script>" in text


def test_submission_page_shows_the_newest_tries_and_links_to_the_rest(admin_page: Client, build: Build) -> None:
    update = build.status_updates.get(status="FAILED")
    StatusUpdateTry.objects.bulk_create(
        StatusUpdateTry(status_update=update, code=500, body=f"answer-{number}", seconds=0.1) for number in range(10)
    )
    build.status_updates.filter(pk=update.pk).update(tries=11)
    text = words(page(admin_page, build.submission))
    assert re.findall(r"answer-\d", text) == ["answer-9", "answer-8", "answer-7"]
    assert "and 8 earlier" in text
    full = admin_page.get(reverse("admin:builds_statusupdate_change", args=[update.pk])).content.decode()
    assert len(re.findall(r"answer-\d", full)) == 10


def test_front_matter_is_indented(admin_page: Client) -> None:
    submission = submit(abstract="Über\u202e", nested={"half": "½", "longer": [1, {}, []]})
    text = html.unescape(page(admin_page, submission))
    assert '\n  "abstract": "Über\\u202e"' in text
    assert '"half": "½",\n    "longer": [\n      1,\n      {},\n      []\n    ]\n  }' in text
    assert "Cut after" not in text


def test_large_front_matter_is_cut_in_the_database(admin_page: Client) -> None:
    submission = submit(parts=["x" * 1000] * 1000)
    with CaptureQueriesContext(connection) as captured:
        text = page(admin_page, submission)
    assert len(text) < 60_000
    assert "Cut after the first 20,000 characters." in text
    reads = [query["sql"] for query in captured.captured_queries if "builds_frontmatter" in query["sql"]]
    assert len(reads) == 1 and "SUBSTR" in reads[0]


def test_a_submission_without_front_matter_has_a_page(admin_page: Client) -> None:
    submission = submit()
    FrontMatter.objects.all().delete()
    assert "On builds 1" in page(admin_page, submission)


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a', '"\\', '{"a": "b\\', '{"a": tru', ""])
def test_any_beginning_of_front_matter_is_indented(text: str) -> None:
    assert re.sub(r"\s", "", indented(text)) == re.sub(r"\s", "", text)


def test_build_page_shows_everything(admin_page: Client, build: Build) -> None:
    text = words(page(admin_page, build))
    for part in (
        "manuscript",
        "build-failed",
        "It broke at",
        "Mend it.",
        "paper.md:12",
        "worker-7",
        "line 2",
        "Beware of",
        "main",
    ):
        assert part in text
    for part in ("Two exports.", "myst build --meca", "1.11.0", "exit code 1", "256 MB", "exports/a.pdf", "ab" * 32, "8 bytes"):
        assert part in text


def test_build_page_links_to_commit_log_and_exports(admin_page: Client, build: Build) -> None:
    text = page(admin_page, build)
    log, artifact = f"/submissions/{build.submission_id}/attempts/1/log/", build.artifacts.get()
    for address in (log, f"{log}#L2", f"https://github.com/lab/paper-1/commit/{COMMIT}"):
        assert f'href="{address}"' in text
    assert f'href="/admin/builds/artifact/{artifact.pk}/download/"' in text


def test_a_page_needs_the_same_queries_for_any_number_of_rows(admin_page: Client, failed: MakeBuild) -> None:
    submission = failed("1").submission
    with CaptureQueriesContext(connection) as one:
        page(admin_page, submission)
    for _ in range(2):
        submission.refresh_from_db()
        lifecycle.retry(submission, Mode.SAME_COMMIT, actor="ed")
        again = claimed(submission)
        ran(again)
        lifecycle.succeed(again)
    with CaptureQueriesContext(connection) as three:
        page(admin_page, submission)
    assert len(three) == len(one)


def test_a_page_of_two_hundred_events_is_shown(admin_page: Client, build: Build) -> None:
    Event.objects.bulk_create(
        Event(submission=build.submission, build=build, kind=f"kind-{number}", actor="ed") for number in range(200)
    )
    assert len(re.findall(r"kind-\d+", page(admin_page, build.submission))) == 200


def test_an_author_s_text_is_not_markup(admin_page: Client, failed: MakeBuild) -> None:
    build = failed("1", title=SCRIPT + BIDI, authors=[SCRIPT])
    rows = [build, build.submission, *build.status_updates.all(), *build.events.all(), *build.stages.all()]
    pages = [reverse(f"admin:builds_{row._meta.model_name}_change", args=[row.pk]) for row in rows]
    lists = [reverse(f"admin:builds_{name}_changelist") for name in ("submission", "build", "stage", "statusupdate", "event")]
    for address in [*pages, *lists]:
        text = admin_page.get(address).content.decode()
        assert "<script>alert" not in text and "\u202e" not in text, address
    assert "safe\\u202egnp.exe" in page(admin_page, build)


def test_only_http_addresses_become_links(admin_page: Client) -> None:
    submission = submit()
    Submission.objects.update(url="javascript:alert(1)")
    text = page(admin_page, submission)
    assert "javascript:alert(1)" in text and 'href="javascript' not in text
