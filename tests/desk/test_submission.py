"""The page of one submission: what it tells, and that it goes on telling."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.models import Build, Mode, Stage, StageName, Submission
from tests.desk import made


def page(client: Client, build: Build) -> str:
    answer = client.get(f"/submissions/{build.submission_id}/")
    assert answer.status_code == 200
    return answer.text


def test_it_names_the_manuscript_and_where_it_is(viewer: Client) -> None:
    shown = page(viewer, made.running(author="Zoë Ångström"))
    for words in (
        "On builds 1</bdi>",
        'Zoë Ångström <a class="small mono nowrap" href="https://orcid.org/0000-0002-1825-0097"',
        'href="https://github.com/lab/paper-1"',
        f'href="https://github.com/lab/paper-1/commit/{made.COMMIT}"',
        'href="https://nodes.desci.com/node/node-1"',
        'href="/submissions/?node=node-1."',
        "job-1",
    ):
        assert words in shown


def test_a_commit_that_is_built_again_is_not_taken_for_a_branch(viewer: Client) -> None:
    first = made.failed()
    Build.objects.filter(pk=first.pk).update(ref="feature/tides")
    lifecycle.retry(first.submission, Mode.SAME_COMMIT, actor="ed")
    again = lifecycle.claim(str(first.submission.newest_build().pk), worker="host:1")
    assert again is not None
    lifecycle.pin(again, commit=made.COMMIT, ref=made.COMMIT, path="docs/myst.yml")
    assert '<dt>Branch</dt><dd class="mono"><bdi>feature/tides</bdi>' in page(viewer, again)
    row = viewer.get("/submissions/").text
    assert made.COMMIT not in row and made.COMMIT[:10] in row


def test_of_many_authors_the_first_are_shown_and_the_others_folded(viewer: Client) -> None:
    def shown(many: int) -> list[list[str]]:
        authors = ", ".join(f"Author {number} (0000-0002-1825-{number:04})" for number in range(many))
        Submission.objects.update(authors=authors)
        listed = re.findall(r"<dt>Authors</dt><dd>(.*?)</dd>", page(viewer, build))[0]
        return [re.findall(r"Author \d+ <a [^>]*orcid.org/0000-0002-1825-(\d+)", part) for part in listed.split("<summary>")]

    build = made.running()
    numbers = [f"{number:04}" for number in range(28)]
    assert shown(10) == [numbers[:10]]
    assert shown(28) == [numbers[:8], numbers[8:]]


def test_a_failure_says_what_why_whose_and_where(viewer: Client) -> None:
    shown = page(viewer, made.failed())
    for words in (
        "The reference “hopper1953” is not in the bibliography.",
        "Add it.",
        "the manuscript",
        "The authors, in the manuscript.",
        f'href="https://github.com/lab/paper-1/blob/{made.COMMIT}/docs/paper.md#L118"',
        "paper.md, line 118",
        "#L42",
    ):
        assert words in shown


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", ""])
def test_a_file_outside_the_repository_is_no_link(viewer: Client, file: str) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(cause_file=file)
    assert "/blob/" not in page(viewer, build).replace("/blob/main/docs/myst.yml", "")


def test_the_timeline_shows_what_was_what_is_and_what_is_to_come(viewer: Client) -> None:
    build = made.running()
    shown = page(viewer, build)
    assert [f"step-{state}" in shown for state in ("succeeded", "running", "waiting")] == [True] * 3
    assert shown.count("to come") == 2
    lifecycle.fail(build, made.CAUSE)
    shown = page(viewer, build)
    assert ("step-failed" in shown, "to come" in shown) == (True, False)


def test_a_delivery_has_one_stage_to_come(viewer: Client) -> None:
    build = made.succeeded()
    lifecycle.retry(build.submission, Mode.DELIVER, actor="ada")
    shown = page(viewer, build)
    assert shown.count("to come") == 1


def test_a_cancel_says_who_and_why_until_nothing_runs(viewer: Client) -> None:
    build = made.running()
    lifecycle.request_cancel(build, actor="ada", reason="wrong branch")
    shown = page(viewer, build)
    assert "being cancelled" in shown
    message = re.sub(r"<br>|</p>.*", "|", re.findall(r'<p class="message warning">.*', shown)[0])
    assert re.sub(r"<[^>]*>|\|$", "", message).split(".", 1)[1] == (
        " It is shown as cancelled once nothing of it runs any more.|Reason: wrong branch"
    )
    lifecycle.finish_cancel(build)
    shown = page(viewer, build)
    assert 'state-cancelled"' in shown
    assert "once nothing of it runs" not in shown


def test_the_next_try_by_itself_is_told_with_why_there_is_one(viewer: Client) -> None:
    build = made.running()
    lifecycle.fail(build, made.CAUSE, retry_at=timezone.now() + timedelta(minutes=30, seconds=30))
    shown = page(viewer, build)
    for words in ("Why attempt 1 failed", "hopper1953", "Add it.", "/attempts/1/log/#L42"):
        assert words in shown
    assert re.findall(r"Jobsite tries again by itself on (<time.*?in 30 min)", shown, re.DOTALL) != []
    Build.objects.filter(state="queued").update(not_before=timezone.now())
    assert "Jobsite tries again by itself, as soon as a worker is free." in page(viewer, build)
    made.started(build.submission)
    shown = page(viewer, build)
    assert ("Why attempt 1 failed" in shown, "attempt 2 is running." in shown) == (True, True)


def test_a_retry_of_a_person_s_has_no_cause_to_show(viewer: Client) -> None:
    build = made.failed()
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    assert 'id="h-cause"' not in page(viewer, build)


def test_each_attempt_has_its_log_and_its_exports(viewer: Client) -> None:
    build = made.succeeded()
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    made.started(build.submission)
    shown = page(viewer, build)
    for words in ("Attempt 2", "Attempt 1", "exports/paper.pdf", "MECA bundle", build.artifacts.first().sha256):  # type: ignore[union-attr]
        assert words in shown
    assert f'href="/submissions/{build.submission_id}/attempts/1/exports/2/preview/"' in shown


def test_what_is_no_longer_kept_is_said(viewer: Client) -> None:
    build = made.succeeded()
    for artifact in build.artifacts.all():
        artifact.path.unlink()
    assert page(viewer, build).count("no longer kept") == 3


def test_each_status_update_shows_its_tries_and_their_answers(viewer: Client) -> None:
    build = made.failed()
    made.refused(build, tries=25)
    shown = page(viewer, build)
    assert "not taken, 25 tries" in shown
    assert "The newest 20 of 25 tries." in shown
    assert "busy &lt;script&gt;" in shown
    assert made.SCRIPT not in shown


def test_the_history_says_who_and_why(viewer: Client) -> None:
    build = made.failed()
    lifecycle.retry(build.submission, Mode.CLEAN, actor="ada", reason="It was our fault.")
    shown = page(viewer, build)
    assert "Retried (clean)" in shown
    assert "It was our fault." in shown


def test_live_gives_the_parts_as_they_are_now(viewer: Client) -> None:
    build = made.running()
    address = f"/submissions/{build.submission_id}/live/"
    now = viewer.get(address).json()
    assert (now["words"], now["goes_on"]) == ("running: build", True)
    lifecycle.leave_stage(Stage.objects.get(build=build, name=StageName.BUILD), Stage.State.SUCCEEDED)
    lifecycle.succeed(build)
    build.status_updates.update(state="received", settled_at=timezone.now())
    now = viewer.get(address).json()
    assert (now["words"], now["goes_on"]) == ("succeeded", False)
    assert set(now["parts"]) == {"state", "timeline", "cause", "attempts", "updates", "history"}


def test_what_is_not_there_is_said(viewer: Client) -> None:
    answer = viewer.get("/submissions/99/")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text


def test_more_attempts_and_updates_ask_no_more_of_the_database(
    editor: Client, django_assert_num_queries: Callable[..., Any], django_assert_max_num_queries: Callable[..., Any]
) -> None:
    build = made.failed()
    made.refused(build, 2)
    address = f"/submissions/{build.submission_id}/"
    with django_assert_max_num_queries(16) as asked:
        editor.get(address)
    for _ in range(2):
        lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
        again = made.started(build.submission)
        lifecycle.fail(again, made.CAUSE)
        made.refused(again, 2)
    with django_assert_num_queries(len(asked)):
        editor.get(address)
