"""The build cache: the same things again are delivered without a build, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from builds import lifecycle
from builds.api.serializers import status
from builds.engine.findings.catalogue.exports import DOI_UNKNOWN
from builds.engine.stages.collect import collect
from builds.engine.stages.deliver import deliver
from builds.errors import ExportsUnavailable
from builds.lib import release
from builds.models import Build, CachedResult, EventKind, Mode, State, Submission
from builds.pipeline import build_cache
from builds.pipeline import run as pipeline_run
from builds.record import kept_exports, logs
from builds.record.erasure import erase_submission
from builds.service.reconciler import ExportsSweep
from tests.support import quick
from tests.support.counted import scrape_here
from tests.support.in_process import STAGES, Bench, check_closed, opened, stages, statuses
from tests.support.kept import path_of
from tests.support.rows import submit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

REUSED = [("fetch", "succeeded"), ("deliver", "succeeded")]


@pytest.fixture
def bench(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    settings.BUILD_CACHE_DAYS = 7
    with opened(settings, monkeypatch) as bench:
        yield bench


@pytest.fixture
def first(bench: Bench) -> Build:
    """A build that succeeded, with a problem."""
    bench.archive.add("a", "b", quick.repository(**quick.WITHOUT_FIGURE))
    build = bench.run(submit(exports=quick.EXPORTS))
    assert (build.state, [name for name, _state in stages(build)]) == (State.SUCCEEDED, STAGES)
    assert build.problems
    return build


def again(bench: Bench, job_id: str = "job-2", **changes: Any) -> Build:
    """Submit the same manuscript under another jobId, and run it."""
    return bench.run(submit(job_id, **{"exports": quick.EXPORTS, **changes}))


def was_built(build: Build) -> bool:
    assert build.state == State.SUCCEEDED, build.cause
    return [name for name, _state in stages(build)] == STAGES


def test_the_same_again_is_delivered_without_a_build(bench: Bench, first: Build) -> None:
    scrape = scrape_here()
    build = again(bench)
    check_closed(build)
    assert (build.state, stages(build), build.reused) == (State.SUCCEEDED, REUSED, first)
    assert (build.commit, build.ref, build.path) == (first.commit, "main", "myst.yml")
    delivered = [bench.desci.deliveries[job_id][0].parts for job_id in ("job-1", "job-2")]
    assert [(p.filename, p.sha256) for p in delivered[0]] == [(p.filename, p.sha256) for p in delivered[1]]
    assert statuses(build.submission) == ["COMPLETED"]
    assert scrape_here()("jobsite_cache_lookups_total", cache="build", result="hit") == 1 + scrape(
        "jobsite_cache_lookups_total", cache="build", result="hit"
    )


def test_the_second_attempt_shows_the_findings_of_the_first(bench: Bench, first: Build) -> None:
    build = again(bench)
    columns = ("code", "severity", "group", "fault", "text", "advice", "file", "line", "export", "position")
    assert list(build.findings.values_list(*columns)) == list(first.findings.values_list(*columns))
    assert build.problems == first.problems
    assert Submission.objects.get(pk=build.submission_id).problems == first.problems


def test_the_attempt_says_that_its_result_was_reused(bench: Bench, first: Build, client: Any, admin_user: Any) -> None:
    build = again(bench)
    assert "Attempt 1 of job-1 has already built this commit" in "\n".join(line.text for line in logs.read(build))
    [attempt] = status(build.submission)["attempts"]
    assert attempt["reused"] == {"jobId": "job-1", "attempt": 1}
    assert [event.reason for event in build.events.filter(kind=EventKind.REUSED)] == ["Attempt 1 of job-1 has built the same."]
    client.force_login(admin_user)
    page = client.get(f"/submissions/{build.submission_id}/").content.decode()
    assert f'href="/submissions/{first.submission_id}/#attempt-1"' in page
    assert "which built the same" in page
    assert client.get(f"/admin/builds/build/{build.pk}/change/").status_code == 200


def test_a_commit_is_reused_under_another_branch_and_another_case_of_its_repository(bench: Bench, first: Build) -> None:
    bench.archive.add("a", "b", quick.repository(**quick.WITHOUT_FIGURE), ref="other", commit=first.commit)
    request = lifecycle.Request("job-2", "n.", "https://github.com/A/B/blob/other/myst.yml", "A/B", {"exports": quick.EXPORTS})
    build = bench.run(lifecycle.submit(request))
    assert (build.reused, build.ref) == (first, "other")


def test_another_repository_with_the_same_commit_is_built(bench: Bench, first: Build) -> None:
    bench.archive.add("c", "d", quick.repository(**quick.WITHOUT_FIGURE), commit=first.commit)
    build = again(bench, repository="c/d")
    assert (was_built(build), build.commit) == (True, first.commit)


def test_another_commit_is_built(bench: Bench, first: Build) -> None:
    bench.archive.add("a", "b", quick.repository("# new"))
    assert was_built(again(bench))


def test_another_project_file_and_other_exports_are_built(bench: Bench) -> None:
    files = quick.repository()
    bench.archive.add("a", "b", {**files, **{f"other/{name}": content for name, content in files.items()}})
    assert was_built(bench.run(submit(exports=quick.EXPORTS)))
    other = "https://github.com/a/b/blob/main/other/myst.yml"
    request = lifecycle.Request("job-2", "n.", other, "a/b", {"exports": quick.EXPORTS})
    assert was_built(bench.run(lifecycle.submit(request)))
    assert was_built(again(bench, "job-3", exports=[*quick.EXPORTS, {"format": "docx", "output": "exports/a.docx"}]))
    assert not was_built(again(bench, "job-4"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUILD_COMMAND", f"{quick.COMMAND} # another recipe"),
        ("BUILD_NETWORK", True),
        ("BUILD_NETWORK_HOSTS", ("example.org",)),
        ("BUILD_ENVIRONMENT", ("HOME",)),
        ("FAILING_FINDINGS", ("host-refused",)),
        ("EXPORTS_MAX", 99),
        ("BUILD_READABLE", ("/opt",)),
    ],
)
def test_other_settings_are_built_with(bench: Bench, first: Build, settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert was_built(again(bench))


def test_other_tools_and_another_release_are_built_with(bench: Bench, first: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(build_cache, "_programs", lambda: [("myst", 1, 2)])
        assert was_built(again(bench))
    monkeypatch.setattr(release, "digest", lambda: "another")
    assert was_built(again(bench, "job-3"))


def test_other_time_limits_change_nothing(bench: Bench, first: Build, settings: Any) -> None:
    settings.BUILD_TIMEOUT, settings.STAGE_TIMEOUT, settings.DELIVERY_PATIENCE = 99, 99, 9
    assert again(bench).reused == first


def test_clean_builds_and_replaces_the_result(bench: Bench, first: Build) -> None:
    lifecycle.retry(first.submission, Mode.CLEAN, actor="ed")
    clean = bench.run(first.submission)
    assert was_built(clean)
    assert again(bench).reused == clean


def test_after_a_clean_build_that_failed_nothing_is_reused(bench: Bench, settings: Any) -> None:
    bench.archive.add("a", "b", quick.repository("sleep 1"))
    first = again(bench, "job-1")
    lifecycle.retry(first.submission, Mode.CLEAN, actor="ed")
    settings.BUILD_TIMEOUT = 0.001  # a command gets 0.1 s at least
    assert bench.run(first.submission).state == State.FAILED
    settings.BUILD_TIMEOUT = 60
    assert was_built(again(bench))


def test_a_failed_build_is_not_reused(bench: Bench, settings: Any) -> None:
    bench.archive.add("a", "b", quick.repository("test -e ../../../gone || exit 3"))
    for job_id in ("job-1", "job-2"):
        build = again(bench, job_id)
        assert (build.state, build.cause_code, build.reused) == (State.FAILED, "command-silent", None)


def test_a_build_that_was_not_received_is_not_reused(bench: Bench) -> None:
    submission = bench.submission()
    bench.desci.down()
    assert bench.run(submission).state == State.FAILED
    bench.desci.up()
    assert was_built(again(bench))


def test_a_finding_of_another_service_may_be_gone_tomorrow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_finding(context: Any, built: Any) -> Any:
        context.find(DOI_UNKNOWN, doi="10.1/x", why="doi.org did not answer")
        return collect(context, built)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline_run, "collect", with_a_finding)
        assert was_built(bench.run(bench.submission()))
    assert was_built(again(bench))
    assert not was_built(again(bench, "job-3"))


def test_an_old_result_is_not_reused(bench: Bench, first: Build, settings: Any) -> None:
    CachedResult.objects.update(made_at=F("made_at") - timedelta(days=7, seconds=1))
    assert was_built(again(bench))


def test_without_days_nothing_is_reused_or_remembered(bench: Bench, first: Build, settings: Any) -> None:
    settings.BUILD_CACHE_DAYS = 0
    assert was_built(again(bench))
    assert CachedResult.objects.count() == 1


@pytest.mark.parametrize("harm", ["damage", "cut", "remove", "link"])
def test_a_damaged_result_is_dropped_and_built(bench: Bench, first: Build, harm: str, tmp_path: Path) -> None:
    path = path_of(first.artifacts.get(role="meca"))
    content = path.read_bytes()
    path.unlink()
    if harm == "link":
        (tmp_path / "other").write_bytes(content)
        path.symlink_to(tmp_path / "other")
    elif harm != "remove":
        path.write_bytes(content[:-1] + (b"x" if harm == "damage" else b""))
    build = again(bench)
    assert was_built(build)
    assert "The result of attempt 1 of job-1 is gone or damaged" in "\n".join(line.text for line in logs.read(build))
    assert again(bench, "job-3").reused == build
    assert list(CachedResult.objects.values_list("build", flat=True)) == [build.pk]


def test_a_damaged_export_is_not_delivered_again_either(bench: Bench, first: Build) -> None:
    path_of(first.artifacts.get(role="page-content")).write_text("[]")
    lifecycle.retry(first.submission, Mode.DELIVER, actor="ed")
    build = bench.run(first.submission)
    assert (was_built(build), build.mode) == (True, Mode.SAME_COMMIT)


def test_a_result_that_is_removed_while_it_is_delivered_is_built_by_a_retry(
    bench: Bench, first: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(context: Any, exports: Any) -> None:
        kept_exports.remove(str(first.pk))
        deliver(context, exports)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline_run, "deliver", late)
        build = again(bench)
    assert (build.state, build.cause_code) == (State.FAILED, ExportsUnavailable.code)
    Build.objects.filter(submission=build.submission, state=State.QUEUED).update(not_before=None)
    assert was_built(bench.run(build.submission))


def test_a_commit_that_the_host_no_longer_has_is_not_delivered(bench: Bench, first: Build) -> None:
    """The address names the commit itself, so no list of refs shows that it is still there."""
    address = f"https://github.com/a/b/blob/{first.commit}/myst.yml"
    bench.archive.add("a", "b", quick.repository("# new"))
    request = lifecycle.Request("job-2", "n.", address, "a/b", {"exports": quick.EXPORTS})
    build = bench.run(lifecycle.submit(request))
    assert build.reused == first
    bench.archive.fail("/archive/", status=404, times=100)
    request = lifecycle.Request("job-3", "m.", address, "a/b", {"exports": quick.EXPORTS})
    build = bench.run(lifecycle.submit(request))
    assert (build.state, build.cause_code, build.reused) == (State.FAILED, "archive-not-found", None)
    assert not bench.desci.deliveries["job-3"]


def test_a_host_without_a_list_of_refs_sends_the_archive_and_no_build_follows(bench: Bench, first: Build) -> None:
    bench.archive.listing = False
    assert stages(again(bench)) == REUSED


def test_what_was_not_delivered_for_longest_goes_first_and_what_is_being_delivered_stays(
    bench: Bench, first: Build, settings: Any
) -> None:
    bench.archive.add("c", "d", quick.repository())
    other = again(bench, "job-2", repository="c/d")
    settings.EXPORTS_KEPT_MAX_BYTES = sum(artifact.size for artifact in first.artifacts.all())
    assert kept_exports.find_old() == [str(first.pk)]
    assert again(bench, "job-3").reused == first
    assert kept_exports.find_old() == [str(other.pk)]
    settings.EXPORTS_KEPT_MAX_BYTES = 1
    assert kept_exports.find_old() == [str(other.pk), str(first.pk)]
    running = bench.start(submit("job-4", exports=quick.EXPORTS))
    assert kept_exports.take_over(running.build, first)
    assert kept_exports.find_old() == [str(other.pk)]
    sweep = ExportsSweep()
    sweep._old = [str(first.pk), str(other.pk)]
    sweep._next_at = float("inf")
    sweep.remove_old_exports()
    assert (kept_exports.has_exports(first), kept_exports.has_exports(other)) == (True, False)
    assert list(CachedResult.objects.values_list("build", flat=True)) == [first.pk]


def test_an_erased_submission_leaves_no_result(bench: Bench, first: Build) -> None:
    build = again(bench)
    Submission.objects.get(pk=first.submission_id).status_updates.update(state="received", settled_at=first.finished_at)
    erase_submission(first.submission)
    build.refresh_from_db()
    assert build.reused is None
    assert was_built(again(bench, "job-3"))


def test_the_key_covers_whatever_an_author_can_declare(bench: Bench) -> None:
    odd = ({"format": "meca", "output": "\u00fc\ud800", "deep": [[None, 1.5, True]]},)
    context = bench.start(bench.submission()).context
    keys = {
        build_cache.key_of(replace(context, declared_exports=exports), "c" * 40, "myst.yml") for exports in (odd, ("meca",), ())
    }
    assert len(keys) == 3
