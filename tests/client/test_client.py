"""The client and its command line, against the real API over a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.db import connection

from builds import lifecycle
from builds.models import Build, Submission
from jobsite_client import Client, Refused, Unreachable, WaitTimedOut
from jobsite_client.__main__ import FAILED, OK, REFUSED, SECRET, TIMED_OUT, UNREACHABLE, USAGE, main
from tests.lifecycle.helpers import CAUSE
from tests.support.rows import claim
from tests.support.written import write

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://github.com/a/b/blob/main/myst.yml"
DOCUMENT = {"title": "On builds", "exports": ["meca"]}
JOB = "job-1 ü"  # with characters that the path has to escape


@pytest.fixture
def client(live_server: Any) -> Iterator[Client]:
    with Client(live_server.url, "test-secret", retries=0) as client:
        yield client


def submitted(client: Client) -> Submission:
    client.submit(url=URL, job_id=JOB, uuid="node.", document=DOCUMENT)
    return Submission.objects.get(job_id=JOB)


def meanwhile(act: Callable[[], object]) -> threading.Thread:
    """Do something while the client waits."""

    def run() -> None:
        act()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# --- calls


def test_the_life_of_a_submission(client: Client) -> None:
    submission = client.submit(url=URL, job_id=JOB, uuid="node.", document=DOCUMENT)
    assert (submission.job_id, submission.uuid, submission.state, submission.is_final) == (JOB, "node.", "queued", False)
    again = client.submit(url=URL, job_id=JOB, uuid="node.", document=DOCUMENT)
    assert (again.newest_attempt, Submission.objects.count(), Build.objects.count()) == (1, 1, 1)
    lifecycle.fail(claim(Submission.objects.get()), CAUSE)
    failed = client.wait(JOB)
    assert failed.is_final
    assert failed.cause is not None
    assert (failed.cause.code, failed.cause.sentence) == (CAUSE.code, CAUSE.sentence)
    assert client.retry(JOB, mode="latest", reason="Once more.").newest_attempt == 2
    cancelled = client.cancel(JOB, reason="Not needed.")
    assert (cancelled.state, [one.state for one in cancelled.attempts]) in [
        ("cancelled", ["failed", "cancelled"]),
        ("cancelled", ["cancelled", "failed"]),
    ]


def test_waiting_ends_with_the_submission_or_after_the_time(client: Client) -> None:
    build = claim(submitted(client))
    with pytest.raises(WaitTimedOut, match="it is running"):
        client.wait(JOB, seconds=0, poll_seconds=0.01)
    thread = meanwhile(lambda: lifecycle.succeed(build))
    assert client.wait(JOB, poll_seconds=0.01).state == "succeeded"
    thread.join()


def test_a_log_is_followed_through_all_attempts(client: Client) -> None:
    submission = submitted(client)
    build = claim(submission)
    write(build, "first", "a\u2028b\x85c")
    lines = client.follow_log(JOB, poll_seconds=0.01)
    assert [next(lines).number for _ in range(2)] == [1, 2]
    write(build, "third")
    found = next(lines)
    assert (found.attempt, found.number, found.text) == (1, 3, "third")
    lifecycle.give_up(Build.objects.get(pk=build.pk))
    second = claim(submission)
    write(second, "of attempt 2")
    lifecycle.succeed(second)
    assert [(line.attempt, line.number, line.text) for line in lines] == [(2, 1, "of attempt 2")]
    assert len({line.number for line in client.log(JOB, attempt=1)}) == 3


def test_refusals_say_why(client: Client, live_server: Any) -> None:
    with pytest.raises(Refused, match="There is no submission") as unknown:
        client.status("none")
    assert unknown.value.status == 404
    submitted(client)
    with pytest.raises(Refused, match="another uuid") as conflict:
        client.submit(url=URL, job_id=JOB, uuid="other.", document=DOCUMENT)
    assert conflict.value.status == 409
    with pytest.raises(Refused, match="already queued"):
        client.retry(JOB)
    with Client(live_server.url, "wrong") as stranger, pytest.raises(Refused, match="Unauthorized"):
        stranger.status(JOB)


# --- a service that fails now and then


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(status: int, retry_after: int) -> Iterator[str]:
    """A service that answers nothing but this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Retry-After", str(retry_after))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Handler) as address:
        yield address


@contextmanager
def in_front_of(service: str, *faults: Any) -> Iterator[tuple[str, list[str]]]:
    """A proxy that answers the first requests with ``faults``. Yields its address, and the requests that it has had.

    A fault is a status, ``cut`` for a connection that breaks, or ``lost`` for an answer of the service that does not arrive.
    """
    left, had = list(faults), []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            had.append(f"{self.command} {self.path}")
            fault = left.pop(0) if left else None
            if isinstance(fault, int):
                self.send_response(fault)
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif fault != "cut":
                self.pass_on(body, lost=fault == "lost")
            self.close_connection = True

        do_GET = do_POST = answer

        def pass_on(self, body: bytes, *, lost: bool) -> None:
            answer = self.ask(body)
            if not lost:
                self.wfile.write(answer)

        def ask(self, body: bytes) -> bytes:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            got = requests.request(self.command, service + self.path, data=body, headers=headers, timeout=60)
            head = f"HTTP/1.1 {got.status_code} x\r\nContent-Length: {len(got.content)}\r\nContent-Type: application/json\r\n\r\n"
            return head.encode() + got.content

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Handler) as address:
        yield address, had


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, "cut", "lost"])
def test_calls_are_repeated_and_submit_once(live_server: Any, fault: Any) -> None:
    with in_front_of(live_server.url, fault, fault) as (address, had), Client(address, "test-secret", pause_seconds=0) as client:
        assert client.submit(url=URL, job_id=JOB, uuid="node.", document=DOCUMENT).state == "queued"
        assert [request.partition(" ")[0] for request in had] == ["POST", "POST", "POST", "GET"]
    assert Build.objects.count() == 1


def test_a_retry_whose_answer_was_lost_has_been_done_once(live_server: Any, client: Client) -> None:
    lifecycle.fail(claim(submitted(client)), CAUSE)
    with in_front_of(live_server.url, None, "lost") as (address, had), Client(address, "test-secret", pause_seconds=0) as own:
        assert own.retry(JOB).newest_attempt == 2
        assert len([request for request in had if request.endswith("/retry")]) == 2
    assert Build.objects.count() == 2


def test_retry_after_is_waited_for() -> None:
    started = time.monotonic()
    with answering(503, 1) as address, pytest.raises(Unreachable, match="503"):
        Client(address, "x", retries=1, pause_seconds=0).status("job")
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("status", [301, 302, 307])
def test_the_secret_follows_no_redirect(live_server: Any, status: int) -> None:
    with in_front_of(live_server.url, status) as (address, had), Client(address, "test-secret") as client:
        with pytest.raises(Unreachable, match=str(status)):
            client.status(JOB)
        assert len(had) == 1


# --- the command line


@pytest.fixture
def run(live_server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    monkeypatch.setenv(SECRET, "test-secret")

    def call(*arguments: str, url: str = live_server.url) -> tuple[int, str]:
        code = main([*arguments, "--url", url, "--retries", "0"])
        return code, capsys.readouterr().out

    return call


Run = Callable[..., tuple[int, str]]


def test_each_command_prints_json_and_ends_with_its_code(run: Run, tmp_path: Path) -> None:
    document = tmp_path / "document.json"
    document.write_text(json.dumps(DOCUMENT))
    submit = ("submit", URL, "--job-id", JOB, "--uuid", "node.", "--document", str(document), "--json")
    code, out = run(*submit)
    assert (code, json.loads(out)["state"]) == (OK, "queued")
    assert run("status", JOB, "--json")[0] == OK
    assert run("status", JOB, "--wait", "--timeout", "0")[0] == TIMED_OUT
    build = claim(Submission.objects.get())
    write(build, "one", "two")
    code, out = run("log", JOB, "--json")
    assert (code, [json.loads(line) for line in out.splitlines()][1]) == (OK, {"attempt": 1, "line": 2, "text": "two"})
    code, out = run("retry", JOB, "--json")
    assert (code, json.loads(out)["ok"]) == (REFUSED, False)
    lifecycle.fail(build, CAUSE)
    code, out = run("status", JOB)
    assert code == FAILED
    assert CAUSE.sentence in out
    assert run("log", JOB, "--follow") == (FAILED, "one\ntwo\n")
    assert run("retry", JOB, "--mode", "clean", "--reason", "x")[0] == OK
    code, out = run("cancel", JOB, "--reason", "x", "--json", "--wait")
    assert (code, json.loads(out)["state"]) == (FAILED, "cancelled")


def test_success_ends_with_zero(run: Run, client: Client) -> None:
    lifecycle.succeed(claim(submitted(client)))
    assert run("status", JOB, "--wait")[0] == OK
    assert run("log", JOB, "--follow") == (OK, "")


@pytest.mark.parametrize("arguments", [("status",), ("retry", JOB, "--mode", "odd"), ()])
def test_wrong_arguments_are_usage_errors(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == USAGE


@pytest.mark.parametrize("content", ["[]", "{", None])
def test_a_document_that_cannot_be_read_is_a_usage_error(run: Run, tmp_path: Path, content: str | None) -> None:
    document = tmp_path / "document.json"
    if content:
        document.write_text(content)
    assert run("submit", URL, "--job-id", JOB, "--uuid", "node.", "--document", str(document))[0] == USAGE
    assert not Submission.objects.exists()


def test_a_missing_secret_is_a_usage_error_and_nobody_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET)
    assert run("status", JOB, url="http://127.0.0.1:1")[0] == USAGE


def test_an_unreachable_service_has_its_own_code(run: Run) -> None:
    assert run("status", JOB, url="http://127.0.0.1:1")[0] == UNREACHABLE


def test_it_runs_as_a_program_without_django(live_server: Any) -> None:
    command = [sys.executable, "-m", "jobsite_client", "status", "none", "--url", live_server.url]
    environment = {"PATH": os.environ["PATH"], SECRET: "test-secret", "PYTHONPATH": str(settings.BASE_DIR)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")
    assert (ended.returncode, ended.stdout) == (REFUSED, "")
    assert "There is no submission" in ended.stderr
