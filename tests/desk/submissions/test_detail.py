"""The page of one submission and its live updates."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone
from django.utils.html import escape
from redis import Redis

from builds import lifecycle
from builds.engine.findings import Finding, Group, Severity
from builds.engine.manuscript.built_article import Author, BuiltArticle
from builds.errors import ArchiveHostLimit, Cause, DesciServerDown, Fault, SecretRefused
from builds.lifecycle import pausing
from builds.models import Build, Mode, PackageList, Stage, StageName, StatusUpdate, StatusUpdateTry, Submission, Worker
from builds.record import articles, logs
from tests.support import made
from tests.support.found import CHECKS, MISSING, NO_DOI, OWN, write_findings
from tests.support.kept import path_of


def page(client: Client, build: Build) -> str:
    answer = client.get(f"/submissions/{build.submission_id}/")
    assert answer.status_code == 200
    return answer.text


def test_it_shows_the_manuscript_and_its_links(viewer: Client) -> None:
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


def test_a_commit_that_is_rebuilt_is_not_shown_as_a_branch(viewer: Client) -> None:
    first = made.failed()
    Build.objects.filter(pk=first.pk).update(ref="feature/tides")
    lifecycle.retry(first.submission, Mode.SAME_COMMIT, actor="ed")
    again = lifecycle.claim(str(first.submission.newest_build().pk), worker="host:1")
    assert again is not None
    lifecycle.pin(again, commit=made.COMMIT, ref=made.COMMIT, path="docs/myst.yml")
    assert '<dt>Branch</dt><dd class="mono"><bdi>feature/tides</bdi>' in page(viewer, again)
    row = viewer.get("/submissions/").text
    assert made.COMMIT not in row and made.COMMIT[:10] in row


def test_a_long_list_of_authors_is_folded(viewer: Client) -> None:
    def shown(many: int) -> list[list[str]]:
        authors = ", ".join(f"Author {number} (0000-0002-1825-{number:04})" for number in range(many))
        Submission.objects.update(authors=authors)
        listed = re.findall(r"<dt>Authors</dt><dd>(.*?)</dd>", page(viewer, build))[0]
        return [re.findall(r"Author \d+ <a [^>]*orcid.org/0000-0002-1825-(\d+)", part) for part in listed.split("<summary>")]

    build = made.running()
    numbers = [f"{number:04}" for number in range(28)]
    assert shown(10) == [numbers[:10]]
    assert shown(28) == [numbers[:8], numbers[8:]]


def test_a_failure_shows_cause_advice_responsibility_and_place(viewer: Client) -> None:
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


@pytest.mark.parametrize("file", ["paper.md", "docs/paper.md"])
def test_the_file_of_a_cause_is_named_from_the_project_or_from_the_repository(viewer: Client, file: str) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(cause_file=file)
    assert f"/blob/{made.COMMIT}/docs/paper.md#L118" in page(viewer, build)


@pytest.mark.parametrize(
    ("cause", "shown"),
    [
        ("Failed to build the repo files: the export pdf was not made.", "The export pdf was not made."),
        ("Failed to build the repo files: index.md shows no image.", "index.md shows no image."),
        ("Failed to build the repo files: `make` ended with exit code 2.", "<code>make</code> ended with exit code 2."),
        ("The repository was not found.", "The repository was not found."),
    ],
)
def test_the_opening_words_of_the_contract_are_left_out_on_pages(viewer: Client, cause: str, shown: str) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(cause=cause)
    assert f'<p class="cause-what"><bdi>{shown}</bdi></p>' in page(viewer, build)
    assert f"<bdi>{shown}</bdi>" in viewer.get("/submissions/").text


def test_a_failure_that_nothing_explains_is_nobodys(viewer: Client) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(fault="unknown")
    assert "Whoever finds the reason in the log" in page(viewer, build)


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", ""])
def test_a_file_outside_the_repository_is_not_a_link(viewer: Client, file: str) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(cause_file=file)
    assert "/blob/" not in page(viewer, build).replace("/blob/main/docs/myst.yml", "")


def test_the_timeline_shows_ended_running_and_future_stages(viewer: Client) -> None:
    build = made.running()
    shown = page(viewer, build)
    assert [f"step-{state}" in shown for state in ("succeeded", "running", "waiting")] == [True] * 3
    assert shown.count("not started") == 2
    lifecycle.fail(build, made.CAUSE)
    shown = page(viewer, build)
    assert ("step-failed" in shown, "not started" in shown) == (True, False)


def test_a_delivery_has_one_future_stage(viewer: Client) -> None:
    build = made.succeeded()
    lifecycle.retry(build.submission, Mode.DELIVER, actor="ada")
    shown = page(viewer, build)
    assert shown.count("not started") == 1


def test_a_pending_cancellation_shows_who_requested_it_and_why(viewer: Client) -> None:
    build = made.running()
    lifecycle.request_cancel(build, actor="ada", reason="wrong branch")
    shown = page(viewer, build)
    assert "being cancelled" in shown
    message = re.sub(r"<br>|</p>.*", "|", re.findall(r'<p class="message warning">.*', shown)[0])
    assert re.sub(r"<[^>]*>|\|$", "", message).split(".", 1)[1] == (
        " The attempt is shown as cancelled once all of its processes have ended.|Reason: wrong branch"
    )
    lifecycle.finish_cancel(build)
    shown = page(viewer, build)
    assert 'state-cancelled"' in shown
    assert "once all of its processes have ended" not in shown


def test_an_automatic_retry_is_shown_with_its_cause(viewer: Client) -> None:
    build = made.running()
    lifecycle.fail(build, made.CAUSE, retry_at=timezone.now() + timedelta(minutes=30, seconds=30))
    shown = page(viewer, build)
    for words in ("Why attempt 1 failed", "hopper1953", "Add it.", "/attempts/1/log/#L42"):
        assert words in shown
    assert re.findall(r"Jobsite retries automatically: (<time.*?in 30 min)", shown, re.DOTALL) != []
    Build.objects.filter(state="queued").update(not_before=timezone.now())
    assert "Jobsite retries automatically as soon as a worker is free." in page(viewer, build)
    made.started(build.submission)
    shown = page(viewer, build)
    assert ("Why attempt 1 failed" in shown, "attempt 2 is running." in shown) == (True, True)


@pytest.mark.parametrize(
    ("cause", "service", "gives_up"),
    [
        (DesciServerDown().cause, "desci-server", "in 30 min"),
        (SecretRefused().cause, "desci-server", "in 30 min"),
        (ArchiveHostLimit(retry_after=600).cause, "the archive host", "in 23 h"),
    ],
    ids=["desci-server", "secret", "limit"],
)
def test_a_retry_that_waits_for_another_service_shows_until_when(
    viewer: Client, settings: Any, cause: Cause, service: str, gives_up: str
) -> None:
    settings.DELIVERY_PATIENCE = 1830
    build = made.running()
    lifecycle.fail(build, cause, retry_at=timezone.now() + timedelta(minutes=10, seconds=30))
    [message] = re.findall(r'<p class="message">(Jobsite is waiting.*?)</p>', page(viewer, build), re.DOTALL)
    words = " ".join(re.sub(r"<[^>]*>", " ", message).split())
    pattern = rf"Jobsite is waiting for {service}\. It tries again .* in 10 min ?, and gives up .* {gives_up} ?\."
    assert re.fullmatch(pattern, words.replace("\xa0", " ")), words


def test_a_status_update_that_is_being_sent_is_shown_as_such(viewer: Client) -> None:
    """A try is recorded before it is made: the first one has not failed yet."""
    build = made.running()
    first = build.submission.status_updates.all()[0]
    StatusUpdate.objects.filter(pk=first.pk).update(tries=1, sending_until=timezone.now() + timedelta(seconds=50))
    StatusUpdateTry.objects.create(status_update=first, error="Sent; no answer is recorded yet.", seconds=0)
    shown = page(viewer, build)
    assert "Jobsite waits for the answer until" in shown
    assert "Sent; no answer is recorded yet." in shown
    assert "not accepted" not in shown
    StatusUpdate.objects.filter(pk=first.pk).update(sending_until=timezone.now() - timedelta(seconds=1))
    shown = page(viewer, build)
    assert "not accepted after 1 try" in shown
    assert "Jobsite waits for the answer until" not in shown


def test_an_answer_of_another_kind_is_shown_with_its_beginning(viewer: Client) -> None:
    build = made.failed()
    update = build.submission.status_updates.all()[0]
    error = "Answered 200, but not as desci-server does."
    StatusUpdateTry.objects.create(status_update=update, code=200, body="<title>Sign in", error=error, seconds=0.1)
    assert f"{error} &lt;title&gt;Sign in" in page(viewer, build)


def test_a_requested_retry_shows_no_cause(viewer: Client) -> None:
    build = made.failed()
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    assert 'id="h-cause"' not in page(viewer, build)


def test_each_attempt_has_its_log_and_files(viewer: Client) -> None:
    build = made.succeeded()
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    made.started(build.submission)
    shown = page(viewer, build)
    for words in ("Attempt 2", "Attempt 1", "exports/paper.pdf", "MECA bundle"):
        assert words in shown
    assert f'href="/submissions/{build.submission_id}/attempts/1/exports/2/preview/"' in shown


def test_files_that_are_no_longer_kept_are_marked(viewer: Client) -> None:
    build = made.succeeded()
    for artifact in build.artifacts.all():
        path_of(artifact).unlink()
    assert page(viewer, build).count("no longer kept") == 3


def test_each_status_update_shows_its_tries_and_their_responses(viewer: Client) -> None:
    build = made.failed()
    made.refused(build, tries=25)
    shown = page(viewer, build)
    assert "not accepted after 25 tries" in shown
    assert "The newest 20 of 25 tries." in shown
    assert "busy &lt;script&gt;" in shown
    assert made.SCRIPT not in shown


def test_the_history_shows_who_and_why(viewer: Client) -> None:
    build = made.failed()
    lifecycle.retry(build.submission, Mode.CLEAN, actor="ada", reason="It was our fault.")
    shown = page(viewer, build)
    assert "Retried (clean)" in shown
    assert "It was our fault." in shown


def test_live_returns_the_current_parts(viewer: Client) -> None:
    build = made.running()
    address = f"/submissions/{build.submission_id}/live/"
    now = viewer.get(address).json()
    assert (now["words"], now["goes_on"]) == ("running: build", True)
    lifecycle.leave_stage(Stage.objects.get(build=build, name=StageName.BUILD), Stage.State.SUCCEEDED)
    lifecycle.succeed(build)
    build.status_updates.update(state="received", settled_at=timezone.now())
    now = viewer.get(address).json()
    assert (now["words"], now["goes_on"]) == ("succeeded", False)
    assert set(now["parts"]) == set(re.findall(r'data-part="(\w+)"', page(viewer, build)))


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_problems_come_first_then_notices_then_editorial_checks(viewer: Client) -> None:
    build = made.running()
    write_findings(build, OWN, *CHECKS, MISSING)
    made.delivered(build)
    page = viewer.get(f"/submissions/{build.submission_id}/").text
    text = text_of(page)
    assert "succeeded, with 1 problem attempt 1" in text
    text = text[text.index("1 problem Something is missing") :]
    order = [
        *("1 problem Something is missing", "The figure “a.png” is missing. Add it to the repository.", "docs/index.md, line 3"),
        *(
            "Show line 7 of the log",
            "image-missing",
            "Notices",
            "paper.pdf was made with the journal's template.",
            "Editorial checks",
        ),
        *("failed It has no abstract. Add an abstract.", "advised It has one keyword.", "passed It has a title."),
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert f'href="https://github.com/lab/paper-1/blob/{made.COMMIT}/docs/index.md#L3"' in page
    assert 'href="/submissions/?finding=image-missing"' in page


def test_an_export_made_with_the_journals_template_says_so(viewer: Client) -> None:
    build = made.running()
    write_findings(build, OWN)
    made.delivered(build)
    page = viewer.get(f"/submissions/{build.submission_id}/").text
    exports = re.findall(r"<li>\s*<span class=\"export-name\">.*?</li>", page, re.DOTALL)
    assert [OWN.text in unescape(export) for export in exports] == [True, False, False]


def test_what_was_not_kept_is_counted(viewer: Client) -> None:
    build = made.running()
    write_findings(build, *(replace(MISSING, line=number) for number in range(1, 6)), most=2)
    made.delivered(build)
    text = text_of(viewer.get(f"/submissions/{build.submission_id}/").text)
    assert "succeeded, with 5 problems" in text
    assert "3 more findings were not kept." in text


def test_a_failed_attempt_shows_its_findings_beside_its_cause(viewer: Client) -> None:
    build = made.running()
    write_findings(build, MISSING, NO_DOI)
    lifecycle.fail(
        build, Cause(Fault.MANUSCRIPT, "image-missing", "It is missing.", file="docs/index.md", line=3), stage="collect"
    )
    page = viewer.get(f"/submissions/{build.submission_id}/").text
    text = text_of(page)
    assert "Also found: 1 problem" in text
    assert NO_DOI.text in text
    assert MISSING.text not in text, "the cause says it already"
    assert f'href="https://github.com/lab/paper-1/blob/{made.COMMIT}/docs/index.md#L3"' in page


def test_a_delivery_again_names_the_attempt_that_found_the_problems(viewer: Client) -> None:
    build = made.running()
    write_findings(build, MISSING)
    made.delivered(build)
    again = lifecycle.retry(build.submission, Mode.DELIVER, actor="ed")
    assert lifecycle.claim(str(again.pk), worker="host:1")
    write_findings(again, replace(MISSING, log_line=None))
    lifecycle.succeed(again)
    text = text_of(viewer.get(f"/submissions/{build.submission_id}/").text)
    assert "Found by attempt 1 , whose exports were delivered." in text


def test_the_warnings_of_older_releases_are_shown(viewer: Client) -> None:
    build = made.running()
    Build.objects.filter(pk=build.pk).update(warnings=[f"Beware of {made.SCRIPT}"])
    page = viewer.get(f"/submissions/{build.submission_id}/").text
    assert "Beware of &lt;script&gt;" in page


def test_a_missing_submission_is_not_found(viewer: Client) -> None:
    answer = viewer.get("/submissions/99/")
    assert answer.status_code == 404
    assert "Page not found" in answer.text


def test_more_attempts_and_updates_need_no_more_queries(
    editor: Client, django_assert_num_queries: Callable[..., Any], django_assert_max_num_queries: Callable[..., Any]
) -> None:
    build = made.failed()
    made.refused(build, 2)
    address = f"/submissions/{build.submission_id}/"
    with django_assert_max_num_queries(21) as asked:
        editor.get(address)
    for _ in range(2):
        lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
        again = made.started(build.submission)
        lifecycle.fail(again, made.CAUSE)
        made.refused(again, 2)
    with django_assert_num_queries(len(asked)):
        editor.get(address)


def test_the_lines_of_the_log_around_a_failure_are_in_the_box_of_its_cause(viewer: Client) -> None:
    build = made.started(made.submitted())
    writer = logs.LogWriter(build, lambda text: text)
    for number in range(1, 9):
        writer.line(f"line {number} \x1b[31mred\x1b[0m {made.SCRIPT}")
    writer.flush()
    lifecycle.fail(build, replace(made.CAUSE, log_line=4))
    shown = page(viewer, build)
    excerpt = shown[shown.index('<ol class="excerpt') : shown.index("Show line 4 of the log")]
    assert re.findall(r"line (\d) red &lt;script&gt;", excerpt) == ["2", "3", "4", "5", "6"]
    assert re.findall(r'<li class="is-cause"><span class="n">(\d)', excerpt) == ["4"]


def test_settled_status_updates_fold_into_one_line(viewer: Client) -> None:
    build = made.failed()
    for number in range(3):
        StatusUpdate.objects.create(submission=build.submission, build=build, status="IN_PROGRESS", message=f"step {number}")
    build.submission.status_updates.update(state=StatusUpdate.State.RECEIVED)
    waiting = StatusUpdate.objects.create(submission=build.submission, build=build, status="FAILED", message="not yet")
    count = build.submission.status_updates.count() - 1
    shown = page(viewer, build)
    assert f"{count} earlier status updates" in text_of(shown)
    folded = shown[shown.index('id="settled-updates"') :]
    assert f"update-{waiting.pk}" in shown and f"update-{waiting.pk}" not in folded
    assert folded.count('<details id="update-') == count


def test_a_queued_attempt_says_why_it_waits(viewer: Client, store: Redis) -> None:
    first, second = made.queued("1"), made.queued("2")
    assert "It waits. No worker is accepting builds." in page(viewer, second)
    Worker.objects.create(name="host:1", host="host", pid=1, started_at=timezone.now(), seen_at=timezone.now())
    assert "Starting now." in page(viewer, first)
    assert "1 attempt is ahead of it." in page(viewer, second)
    pausing.pause(actor="ada", reason=f"upgrade {made.SCRIPT}")
    assert "It waits. The queue is paused." in page(viewer, second)
    for address in ("/submissions/", "/overview/"):
        banner = "The queue is paused</strong> by ada"
        assert banner in viewer.get(address).text
        assert f"upgrade {escape(made.SCRIPT)}" in viewer.get(address).text
    assert "banner" not in viewer.get("/queue/").text


def test_a_running_attempt_says_that_its_worker_is_silent(viewer: Client) -> None:
    build = made.running()
    long_ago = timezone.now() - timedelta(minutes=2)
    Worker.objects.create(name=build.worker, host="host", pid=1, started_at=long_ago, seen_at=long_ago)
    assert f"No recent contact with the worker {build.worker}" in page(viewer, build)


def test_refused_status_updates_say_what_desci_server_answered(viewer: Client) -> None:
    build = made.failed()
    made.refused(build)
    shown = text_of(page(viewer, build))
    assert "desci-server has not accepted" in shown
    assert "Its last answer was 503, busy" in shown


def test_a_refused_delivery_offers_to_deliver_again_first(editor: Client) -> None:
    build = made.running()
    made.keep(build, 1, "typst", "exports/paper.pdf", b"%PDF-1.7 content")
    made.keep(build, 2, "page-content", "index.json", b"{}")
    made.go_through(build, "collect", "deliver")
    lifecycle.fail(build, replace(made.CAUSE, fault=Fault.OUTSIDE), stage="deliver")
    first = re.findall(
        r'<a class="button([^"]*)" href="/submissions/\d+/act/(\w+)/', page(editor, build).partition('data-part="state"')[2]
    )[0]
    assert first == (" primary", "deliver")


def test_a_failure_says_what_changed_since_the_manuscript_last_worked(viewer: Client) -> None:
    first = made.succeeded()
    old, new = "a" * 40, "b" * 40
    Build.objects.filter(pk=first.pk).update(commit=old)
    first.stages.filter(name="build").update(command_version="mystmd 1.6.0", finished_at=F("started_at") + timedelta(seconds=9))
    lifecycle.retry(first.submission, Mode.LATEST, actor="ada")
    again = made.started(first.submission)
    made.keep(again, 1, "typst", "exports/paper.pdf", b"%PDF-1.7 content" * 3)
    write_findings(again, MISSING)
    lifecycle.fail(again, made.CAUSE, stage="build")
    Build.objects.filter(pk=again.pk).update(commit=new)
    again.stages.filter(name="build").update(command_version="mystmd 1.7.0", finished_at=F("started_at") + timedelta(seconds=90))
    shown = page(viewer, again)
    changed = text_of(shown[shown.index("Since it last worked") : shown.index('data-part="findings"')])
    assert f'href="https://github.com/lab/paper-1/compare/{old}...{new}"' in shown
    for words in (
        "Attempt 1 of job-1 succeeded",
        "exports/paper.pdf has 48 bytes; it had 16 bytes.",
        "exports/paper.meca.zip was not made.",
        f"New problem: {text_of(MISSING.text)}",
        "Other versions of tools: mystmd 1.7.0. They were mystmd 1.6.0.",
        "The stage build took 1 min 30 s; it took 9.0 s.",
    ):
        assert words in changed, changed
    for build, pages in ((first, 12), (again, 9)):
        build.artifacts.filter(name="exports/paper.pdf").update(pages=pages)
    PackageList.objects.create(build=first, packages={"numpy": "1.26.4", "pip": "24.0", "tk": "8.6"})
    PackageList.objects.create(build=again, packages={"numpy": "2.1.0", "pip": "24.0", "xz": "5.2"})
    shown = text_of(page(viewer, again))
    assert "exports/paper.pdf has 9 pages; it had 12." in shown
    assert "Other packages in pixi.lock: numpy 2.1.0, it was 1.26.4; tk 8.6 is gone; xz 5.2 is new." in shown
    Build.objects.filter(pk=again.pk).update(commit=old)
    assert "The commit is the same: the repository did not change." in page(viewer, again)


def test_the_success_of_another_manuscript_is_not_compared(viewer: Client) -> None:
    made.succeeded("1", node="node-2.")
    assert "Since it last worked" not in page(viewer, made.failed("2"))


HOSTILE = "See `myst <script>alert(1)</script> build` & `<img src=x onerror=alert(2)>`, not `</code><b>` or ``."
SHOWN = (
    "See <code>myst &lt;script&gt;alert(1)&lt;/script&gt; build</code> &amp; <code>&lt;img src=x onerror=alert(2)&gt;</code>, "
    "not <code>&lt;/code&gt;&lt;b&gt;</code> or ``."
)


def test_code_in_causes_and_findings_is_shown_as_code_and_nothing_else_as_markup(viewer: Client) -> None:
    build = made.running()
    write_findings(
        build,
        *(Finding(f"kind-{each}", each, f"{HOSTILE} {each}", HOSTILE) for each in (Severity.BROKEN, Severity.NOTICE)),
        Finding("editorial-title", Severity.FAILED, f"{HOSTILE} failed", HOSTILE, group=Group.EDITORIAL),
    )
    lifecycle.fail(build, Cause(Fault.MANUSCRIPT, "build-failed", HOSTILE, HOSTILE), stage="build")
    attempt, log = (viewer.get(f"/submissions/{build.submission_id}/{rest}").text for rest in ("", "attempts/1/log/"))
    for shown in (attempt, log):
        assert "<script>alert" not in shown and "<img src=x" not in shown and "<b>" not in shown
    assert attempt.count(SHOWN) == 2 + 2 * 3  # the cause and its advice, and those of three findings
    assert SHOWN in log
    lifecycle.retry(build.submission, Mode.SAME_COMMIT, actor="ed")
    assert SHOWN in page(viewer, build), "the cause of an earlier attempt"


def test_the_list_of_submissions_shows_code_as_code(viewer: Client) -> None:
    failed, found = made.running("1"), made.running("2")
    lifecycle.fail(failed, Cause(Fault.MANUSCRIPT, "build-failed", HOSTILE), stage="build")
    write_findings(found, replace(MISSING, text=HOSTILE))
    made.delivered(found)
    listed = viewer.get("/submissions/").text
    assert listed.count(SHOWN) == 2
    assert "<script>alert" not in listed


def test_clients_and_tables_get_the_text_as_it_is(viewer: Client) -> None:
    build = made.failed()
    Build.objects.filter(pk=build.pk).update(cause=HOSTILE)
    table = b"".join(viewer.get("/submissions/csv/").streaming_content).decode()  # type: ignore[attr-defined]
    assert HOSTILE in table


def shown_actions(html: str) -> list[tuple[str, bool]]:
    """The buttons beside the state, and whether each is the primary one."""
    html = html[html.index('aria-label="State"') :]
    return [(text.strip(), "primary" in look) for look, text in re.findall(r'<a class="button([^"]*)"[^>]*>([^<]*)</a>', html)]


def test_a_success_is_for_reading(editor: Client) -> None:
    build = made.succeeded()
    shown = page(editor, build)
    assert shown_actions(shown)[0] == ("Read the PDF", True)
    assert [text for text, is_primary in shown_actions(shown) if is_primary] == ["Read the PDF"]
    assert f'href="/submissions/{build.submission_id}/attempts/1/exports/1/preview/">Read the PDF' in shown
    parts = [shown.index(f'id="h-{name}"') for name in ("exports", "stages", "attempts")]
    assert parts == sorted(parts)
    assert shown.count("MECA bundle") == 1
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    shown = page(editor, build)
    assert ("Read the PDF of attempt 1", False) in shown_actions(shown)
    assert "Exports of attempt 1" in shown
    path_of(build.artifacts.get(position=1)).unlink()
    assert "Read the PDF" not in page(editor, build)


def test_a_success_without_a_pdf_offers_the_article_first(editor: Client) -> None:
    build = made.succeeded()
    path_of(build.artifacts.get(position=1)).unlink()
    actions = shown_actions(page(editor, build))
    assert [text for text, is_primary in actions if is_primary] == ["Read the article"]


def test_the_state_and_its_buttons_come_before_the_rest_of_the_page(editor: Client) -> None:
    shown = page(editor, made.succeeded())
    places = [shown.index(words) for words in ("Read the PDF", 'id="h-manuscript"', 'id="h-handling"')]
    assert places == sorted(places)


def test_the_card_of_the_article_shows_what_was_built(viewer: Client) -> None:
    build = made.succeeded(title="<i>E. coli</i> <script>")
    author: Author = {"name": "Zoë <b>", "orcid": "0000-0002-1825-0097", "affiliations": ["Reef Institute"]}
    article = BuiltArticle(
        "On <i>E.</i>", [author], f"One.\n\nTwo {made.SCRIPT}", ["corals", "<b>"], "CC BY", "https://a.example/by"
    )
    articles.keep(build.submission, article)
    shown = page(viewer, build)
    for words in (
        '<h1 class="title"><bdi><i>E. coli</i> &lt;script&gt;</bdi></h1>',
        "<title>E. coli &lt;script&gt; · Jobsite</title>",
        '<bdi>Zoë &lt;b&gt;</bdi> <a class="small mono nowrap" href="https://orcid.org/0000-0002-1825-0097"',
        "<bdi>Reef Institute</bdi>",
        "<p>One.</p>\n\n<p>Two &lt;script&gt;",
        "<bdi>corals</bdi>, <bdi>&lt;b&gt;</bdi>",
        '<a href="https://a.example/by" rel="noopener noreferrer"><bdi>CC BY</bdi></a>',
    ):
        assert words in shown
    assert made.SCRIPT not in shown


def test_hashes_and_names_of_workers_are_one_click_away(viewer: Client) -> None:
    build = made.succeeded()
    build.stages.filter(name="fetch").update(detail=f"main is commit {made.COMMIT}")
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    shown = page(viewer, build)
    at_once = text_of(re.sub(r"<details.*?</details>", "", shown, flags=re.DOTALL))
    assert "Started attempt 1 by a worker" in at_once
    assert "by ada" in at_once
    assert "host:1" not in at_once
    assert made.COMMIT not in at_once
    assert "host:1" in text_of(shown)
