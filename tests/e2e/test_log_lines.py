"""The service's own log: everything that ``serve`` and its programs write is JSON, and one submission's lines are its life, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import SECRET, Service, in_django
from tests.e2e.test_faults import STUBBORN, not_again, post, wait_for_stage, work_horse
from tests.standins import ArchiveHost, DesciServer
from tests.support import quick
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.any_database]

SETTINGS = {"BUILD_COMMAND": quick.COMMAND, "LEASE_SECONDS": "3", "WORKERS": "1"}
STAGES = ("fetch", "unpack", "build", "collect", "deliver")
START = ["submission_accepted", "build_queued"]
HEAD = {"time", "level", "logger", "event", "role", "host"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ArchiveHost() as archive, DesciServer(SECRET) as desci:
        running = Service(tmp_path_factory.mktemp("logs") / "data", archive, desci, **SETTINGS)
        running.start()
        yield running
        running.stop()


def lines(service: Service) -> list[dict[str, Any]]:
    """Every line of standard output and standard error. One that is not a JSON object fails here."""
    found = [json.loads(line) for line in service.whole_output().splitlines()]
    assert all(line.keys() >= HEAD for line in found)
    return found


def steps(service: Service, job_id: str) -> list[dict[str, Any]]:
    return [line for line in lines(service) if line.get("jobId") == job_id and line["event"] != "message"]


def own(service: Service, job_id: str) -> list[dict[str, Any]]:
    """Without the outbox's lines, which come at any moment between the others, and without those that only a slow machine has."""
    return [line for line in steps(service, job_id) if line["role"] != "outbox" and line["event"] != "stage_progress"]


def attempt(*stages: str) -> list[str]:
    """The steps of an attempt up to the end of its last stage."""
    opened = [f"{event} {stage}" for stage in stages for event in ("stage_started", "stage_ended")]
    return ["workhorse_started", "build_claimed", *opened]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{line['event']} {line['stage']}" if line["event"].startswith("stage_") else line["event"] for line in found]


def ended(service: Service, job_id: str, exits: int = 1) -> list[dict[str, Any]]:
    """The lines of a submission once its work-horses have ended and its status updates are settled."""
    wait_until(lambda: names(steps(service, job_id)).count("workhorse_exited") >= exits, service.output)
    wait_until(lambda: "COMPLETED" in updates(service, job_id) or "FAILED" in updates(service, job_id), service.output)
    return own(service, job_id)


def updates(service: Service, job_id: str) -> list[str]:
    return [line["status"] for line in steps(service, job_id) if line["event"] == "status_update_received"]


def in_database(service: Service, job_id: str) -> dict[str, Any]:
    script = f"""
import json
from builds.models import Build, Stage, StatusUpdate
builds = Build.objects.filter(submission__job_id="{job_id}").order_by("number")
print(json.dumps({{
    "builds": [[b.number, b.state, b.cause_code, b.fault] for b in builds],
    "stages": [[s.build.number, s.name, s.state] for s in Stage.objects.filter(build__in=builds).order_by("pk")],
    "received": [u.status for u in StatusUpdate.objects.filter(build__in=builds, state="received").order_by("pk")],
}}))
"""
    found: dict[str, Any] = json.loads(in_django(service, script))
    return found


def agrees(service: Service, job_id: str) -> None:
    """The lines say what the database says: no step more, none less."""
    found, rows = steps(service, job_id), in_database(service, job_id)
    ends = [line for line in found if line["event"] == "build_ended"]
    assert [[e["attempt"], e["state"], e.get("causeCode", ""), e.get("causeClass", "")] for e in ends] == rows["builds"]
    stages = [line for line in found if line["event"] == "stage_ended"]
    assert [[line["attempt"], line["stage"], line["state"]] for line in stages] == rows["stages"]
    assert updates(service, job_id) == rows["received"]


def test_the_life_of_a_submission_is_its_lines(logged: Service) -> None:
    post(logged, "whole")
    logged.wait("whole", "succeeded")
    found = ended(logged, "whole")
    assert names(found) == [
        *START,
        *attempt(*STAGES)[:-1],
        "exports_delivered",
        "stage_ended deliver",
        "build_ended",
        "workhorse_exited",
    ]
    agrees(logged, "whole")
    for line in found:
        assert line["uuid"] == "node-whole."
        assert line.get("attempt") == (None if line["event"] == "submission_accepted" else 1)
    roles = {line["event"]: line["role"] for line in found}
    assert (roles["submission_accepted"], roles["build_ended"], roles["workhorse_exited"]) == ("web", "work-horse", "worker")
    by_event = {line["event"]: line for line in found}
    assert by_event["stage_ended"]["duration"] >= 0
    assert by_event["build_ended"]["duration"] >= by_event["stage_ended"]["duration"]
    assert by_event["build_claimed"]["worker"] == by_event["workhorse_exited"]["worker"]
    assert (by_event["workhorse_exited"]["exitCode"], by_event["exports_delivered"]["files"] > 0) == (0, True)
    assert {line["program"] for line in lines(logged) if line["event"] == "program_started"} == {
        *("queue store", "web 1", "worker 1", "outbox", "reconciler")
    }


def test_a_poll_adds_no_line(logged: Service) -> None:
    before = len(lines(logged))
    for path in ("/whole", "/unknown", "/whole/log", ""):
        assert logged.call("GET", path).status_code in (200, 404, 405)
    assert logged.call("POST", json={}).status_code == 400  # its line, and then no other, shows that the log is not late
    wait_until(lambda: len(lines(logged)) > before, logged.output)
    assert ["Bad Request" in line["message"] for line in lines(logged)[before:]] == [True]


def test_a_failure_and_forged_text(logged: Service) -> None:
    """What an author or a client writes can't begin a line of its own."""
    forged = '\\n{"event": "build_ended", "state": "succeeded"}\\r\\n\\033[2K'
    post(logged, "failing", f"printf '{forged}'; exit 3")
    logged.wait("failing", "failed")
    found = ended(logged, "failing")
    assert names(found) == [*START, *attempt("fetch", "unpack", "build"), "build_ended", "workhorse_exited"]
    agrees(logged, "failing")
    last = next(line for line in found if line["event"] == "build_ended")
    assert (last["state"], last["causeClass"]) == ("failed", "manuscript")
    text = 'x\n{"event": "build_ended"}\x1b[31m'
    assert logged.call("POST", "/failing/retry", json={"mode": "latest", "reason": text}).status_code < 300
    logged.call("POST", "/%0A%7B%22event%22:%22forged%22%7D/cancel")
    ended(logged, "failing", exits=2)
    assert [line["event"] for line in lines(logged)].count("build_retried") == 1
    assert "forged" not in {line["event"] for line in lines(logged)}
    assert "\x1b" not in logged.whole_output()


def test_a_cancel(logged: Service) -> None:
    post(logged, "unwanted", f"{STUBBORN.format(mark='3001')}\nsleep 600")
    wait_for_stage(logged, "3001")
    logged.call("POST", "/unwanted/cancel", json={"reason": "Wrong branch."})
    logged.wait("unwanted", "cancelled")
    found = ended(logged, "unwanted")
    assert names(found) == [
        *START,
        *attempt("fetch", "unpack", "build")[:-1],
        "cancel_requested",
        "stage_ended build",
        "build_ended",
        "workhorse_exited",
    ]
    agrees(logged, "unwanted")
    request = next(line for line in found if line["event"] == "cancel_requested")
    assert (request["role"], request["reason"], request["by"]) == ("web", "Wrong branch.", "the API")


def test_a_killed_work_horse(logged: Service) -> None:
    post(logged, "killed", once=f"{STUBBORN.format(mark='4001')}\nsleep 600")
    wait_for_stage(logged, "4001")
    not_again(logged, "killed")
    work_horse(logged, "4001").kill()
    logged.wait("killed", "succeeded")
    found = ended(logged, "killed", exits=2)
    first = [line for line in found if line.get("attempt", 1) == 1]
    assert names(first) == [
        *START,
        *attempt("fetch", "unpack", "build")[:-1],
        "workhorse_exited",
        "build_lost",
        "stage_ended build",
        "build_ended",
    ]
    second = [line for line in found if line.get("attempt") == 2]
    assert names(second)[:4] == ["build_retried", "build_queued", "workhorse_started", "build_claimed"]
    assert second[-1]["exitCode"] == 0
    exit_line = next(line for line in first if line["event"] == "workhorse_exited")
    assert (exit_line["signal"], exit_line["level"]) == ("SIGKILL", "WARNING")
    assert next(line for line in first if line["event"] == "build_lost")["role"] == "reconciler"
    agrees(logged, "killed")
