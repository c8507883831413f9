"""The metrics of this process's database, and their comparison with the record."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from builds.models import Build, Stage, StatusUpdate
from builds.record import metrics
from builds.record.exposition import REGISTRY
from tests.support.scraping import Scrape

BOUNDS = [*map(float, metrics.SECONDS), float("inf")]


def scrape_here() -> Scrape:
    return Scrape(generate_latest(REGISTRY).decode())


def possible_since(build: Build) -> Any:
    return max(build.created_at, build.not_before or build.created_at)


def check_histogram(scrape: Scrape, name: str, times: list[timedelta], **labels: str) -> None:
    """Check that the histogram has exactly these values."""
    seconds = [max(time, timedelta()).total_seconds() for time in times]
    assert scrape(f"{name}_count", **labels) == len(seconds)
    assert scrape(f"{name}_sum", **labels) == pytest.approx(sum(seconds), abs=1e-9)
    for bound in BOUNDS:
        le = "+Inf" if bound == float("inf") else str(bound)
        assert scrape(f"{name}_bucket", le=le, **labels) == sum(value <= bound for value in seconds)


def check_agrees(scrape: Scrape) -> None:
    """Check everything that is counted against the rows."""
    builds = list(Build.objects.all())
    started = [build for build in builds if build.started_at]
    assert scrape("jobsite_submissions_total") == len({build.submission_id for build in builds})
    assert scrape.total("jobsite_builds_queued_total") == len(builds)
    assert scrape("jobsite_builds_queued_total", why="retried-automatically") == sum(build.automatic for build in builds)
    assert scrape("jobsite_builds_started_total") == len(started)
    check_histogram(scrape, "jobsite_build_wait_seconds", [build.started_at - possible_since(build) for build in started])
    retries = {(build.submission_id, build.number - 1) for build in builds if build.automatic}
    ends = Counter(
        (build.state, build.fault, "yes" if (build.submission_id, build.number) in retries else "no")
        for build in builds
        if build.finished_at
    )
    assert scrape.total("jobsite_builds_ended_total") == sum(ends.values())
    for (state, fault, retried), count in ends.items():
        assert scrape("jobsite_builds_ended_total", state=state, fault=fault, retried=retried) == count
    for state in {state for state, *_ in ends}:
        took = [build.finished_at - possible_since(build) for build in builds if build.state == state and build.finished_at]
        check_histogram(scrape, "jobsite_build_seconds", took, state=state)
    assert (
        scrape.total("jobsite_status_update_tries_total", outcome="ok") == StatusUpdate.objects.filter(state="received").count()
    )
    closed = Stage.objects.exclude(state=Stage.State.RUNNING).values_list("name", "state", "started_at", "finished_at")
    assert scrape.total("jobsite_stage_seconds_count") == len(closed)
    for name, state in {(name, state) for name, state, *_ in closed}:
        times = [end - start for own, which, start, end in closed if (own, which) == (name, state) and end]
        check_histogram(scrape, "jobsite_stage_seconds", times, stage=name, state=state)
    used = [build.processor_seconds for build in builds if build.finished_at and build.processor_seconds is not None]
    assert scrape("jobsite_build_processor_seconds_total") == pytest.approx(sum(used), abs=1e-5)
