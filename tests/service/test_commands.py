"""django-rq's management commands: all are replaced, except those that cannot run anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.conf import settings
from django.core.management import call_command, find_commands, get_commands
from django.core.management.base import CommandError
from redis import Redis

from builds.models import QueueChange, QueueControl
from builds.service import worker

pytestmark = pytest.mark.django_db

REFUSED = {"rqenqueue": "runs builds only", "rqworker-pool": "worker pools", "rqcron": "scheduled", "rqscheduler": "scheduled"}
HARMLESS = {"rqstats"}


def test_every_command_of_django_rq_is_replaced_but_the_statistics() -> None:
    stock = set(find_commands(str(Path(django_rq.__file__).parent / "management")))
    assert {name for name in stock if get_commands()[name] != "builds"} == HARMLESS


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("arguments", [[], ["os.system", "true"]])
def test_a_command_that_would_run_other_functions_is_refused(name: str, arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=REFUSED[name]):
        call_command(name, *arguments)


def test_a_refusal_is_one_line() -> None:
    command = [
        sys.executable,
        str(settings.BASE_DIR / "manage.py"),
        "rqenqueue",
        "-q",
        "builds",
        "os.system",
        "true",
        "--timeout",
        "5",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("CommandError: Jobsite runs builds only")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls of the worker's function, which does nothing here."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(worker, "run", lambda **options: calls.append(options))
    return calls


def test_worker_and_rqworker_run_the_same_function(runs: list[dict[str, Any]]) -> None:
    call_command("worker")
    call_command("rqworker")
    call_command("rqworker", "builds", "--name", "a", "--burst", "--max-jobs", "2", "--max-idle-time", "3")
    usual = {"name": "", "burst": False, "max_jobs": None, "max_idle_time": None}
    assert runs == [{}, usual, {"name": "a", "burst": True, "max_jobs": 2, "max_idle_time": 3}]


@pytest.mark.parametrize("arguments", [["other"], ["builds", "other"]])
def test_rqworker_refuses_other_queues(runs: list[dict[str, Any]], arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="Unknown queue: other"):
        call_command("rqworker", *arguments)
    assert runs == []


@pytest.mark.parametrize("option", ["worker-class", "job-class", "queue-class", "serializer", "with-scheduler"])
def test_rqworker_has_no_option_that_replaces_a_class(runs: list[dict[str, Any]], option: str) -> None:
    with pytest.raises(CommandError, match="unrecognized arguments"):
        call_command("rqworker", "builds", f"--{option}=rq.Worker")
    assert runs == []


def test_rqsuspend_pauses_and_rqresume_resumes(store: Redis) -> None:
    call_command("rqsuspend", "--reason", "An upgrade.")
    control = QueueControl.now()
    assert (control.is_paused, control.paused_by, control.reason) == (True, "the command line", "An upgrade.")
    with pytest.raises(CommandError, match="already"):
        call_command("rqsuspend")
    call_command("rqresume")
    assert not QueueControl.now().is_paused
    with pytest.raises(CommandError, match="not paused"):
        call_command("rqresume")
    assert list(QueueChange.objects.order_by("pk").values_list("actor", flat=True)) == ["the command line"] * 2
    assert not store.exists("rq:suspended")


def test_a_pause_has_no_duration() -> None:
    with pytest.raises(CommandError, match="no duration"):
        call_command("rqsuspend", "--duration", "5")
    assert not QueueControl.now().is_paused
