"""The whole history of a submission as one JSON document, and the erasure of a person's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessLog
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from builds import lifecycle
from builds.engine.manuscript.built_article import BuiltArticle
from builds.errors import CommandFailed
from builds.models import Event, FrontMatter, Mode, StatusUpdateTry, Submission
from builds.record import articles, logs
from tests.support.rows import claim, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failed() -> Submission:
    """A submission that failed once and was cancelled once by ada."""
    submission = submit("job-1", exports=[{"format": "meca"}])
    build = claim(submission)
    build.stages.create(name="fetch")
    log = logs.LogWriter(build, str)
    log.line('a "line" with \u2028 odd </script> characters')
    log.flush()
    lifecycle.fail(build, CommandFailed("The command failed.").cause)
    lifecycle.retry(submission, mode=Mode.LATEST, actor="ada")
    lifecycle.request_cancel(submission.newest_build(), actor="ada", reason="")
    for update in submission.status_updates.all():
        StatusUpdateTry.objects.create(status_update=update, seconds=1, code=503)
    articles.keep(submission, BuiltArticle(title="On tides"))
    return submission


def test_it_has_every_row(admin_client: Client, failed: Submission) -> None:
    answer = admin_client.get(f"/submissions/{failed.pk}/history.json")
    assert answer["Content-Disposition"] == f'attachment; filename="submission-{failed.pk}.json"'
    document = json.loads(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    assert document["submission"]["job_id"] == "job-1"
    assert document["front_matter"] == FrontMatter.objects.get(submission=failed).document
    assert document["article"]["title"] == "On tides"
    first, second = document["attempts"]
    assert [line["text"] for line in first["log"]] == ['a "line" with \u2028 odd </script> characters']
    assert (first["cause"], first["stages"][0]["name"], second["log"]) == ("The command failed.", "fetch", [])
    assert [event["kind"] for event in document["events"]] == list(failed.events.order_by("id").values_list("kind", flat=True))
    assert [update["tries"][0]["code"] for update in document["status_updates"]] == [503] * failed.status_updates.count()


def test_only_staff_get_it(client: Client, failed: Submission) -> None:
    assert client.get(f"/submissions/{failed.pk}/history.json").status_code == 302


def settle(submission: Submission) -> None:
    submission.status_updates.update(state="received")


def test_a_submission_is_erased_with_all_that_belongs_to_it(failed: Submission, settings: Any) -> None:
    settle(failed)
    other = submit("job-2")
    folder = Path(settings.DATA_DIR) / "exports" / str(failed.newest_build().pk)
    folder.mkdir(parents=True)
    call_command("erase", "--submission", "job-1")
    assert Submission.objects.filter(pk=failed.pk).exists()
    call_command("erase", "--submission", "job-1", "--yes")
    assert list(Submission.objects.all()) == [other]
    assert not Event.objects.filter(submission=failed.pk).exists()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("job_id", "why"), [("job-1", "has not yet received"), ("job-2", "queued or running"), ("job-3", "no submission")]
)
def test_a_submission_that_is_not_done_with_is_not_erased(failed: Submission, job_id: str, why: str) -> None:
    submit("job-2")
    with pytest.raises(CommandError, match=why):
        call_command("erase", "--submission", job_id, "--yes")
    assert Submission.objects.count() == 2


def test_an_erased_account_leaves_no_name(failed: Submission, admin_user: User) -> None:
    ada = User.objects.create_user("ada")
    AccessLog.objects.create(username="ada")
    call_command("erase", "--account", "ada", "--yes")
    assert not User.objects.filter(pk=ada.pk).exists()
    assert not AccessLog.objects.exists()
    named: list[Any] = [*failed.events.values_list("actor", flat=True), failed.newest_build().cancel_requested_by]
    assert "ada" not in named
    assert "an erased account" in named


def test_the_only_superuser_is_not_erased(admin_user: User) -> None:
    with pytest.raises(CommandError, match="only superuser"):
        call_command("erase", "--account", admin_user.username, "--yes")
    assert User.objects.count() == 1
