"""The API behind the real web server and real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.e2e.conftest import SECRET, SUBMISSIONS, WAIT_SECONDS, Service

pytestmark = pytest.mark.e2e

HEADERS = {"X-Internal-Secret": SECRET, "Content-Type": "application/json"}


def pieces(count: int) -> Iterator[bytes]:
    """A body of ``count`` megabytes without an announced length."""
    for _ in range(count):
        yield b"x" * 1_000_000


def body(job_id: str) -> dict[str, Any]:
    url = "https://github.com/jobsite/none/blob/main/myst.yml"
    return {"url": url, "jobId": job_id, "uuid": f"{job_id}.", "parsedDocument": {"title": "T"}}


def web_memory(service: Service) -> int:
    """The highest peak memory of the web server's processes, in bytes."""
    assert service.process is not None
    peaks = []
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[2:3] == ["web"]:
                status = Path(f"/proc/{process.pid}/status").read_text()
                peaks.append(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
    return max(peaks)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_without_being_kept_in_memory(service: Service, announced: bool) -> None:
    before = web_memory(service)
    content: Any = b"".join(pieces(150)) if announced else pieces(150)
    try:
        answer = requests.post(f"{service.url}{SUBMISSIONS}", data=content, headers=HEADERS, timeout=120)
    except requests.ConnectionError:
        assert announced, "refused by its announced length, before it was all sent"
    else:
        assert (answer.status_code, answer.json()["ok"]) == (413, False)
    assert web_memory(service) - before < (20_000_000 if announced else 260_000_000)


def test_a_body_without_an_announced_length_is_accepted(service: Service) -> None:
    content = json.dumps(body("chunked")).encode()
    answer = requests.post(f"{service.url}{SUBMISSIONS}", data=iter([content[:20], content[20:]]), headers=HEADERS, timeout=120)
    assert (answer.status_code, answer.json()["jobId"]) == (202, "chunked")


def test_a_body_that_ends_early_is_refused(service: Service) -> None:
    head = f"POST {SUBMISSIONS} HTTP/1.1\r\nHost: localhost\r\nX-Internal-Secret: {SECRET}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\nnot a size\r\n".encode())
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 400")
    assert "Traceback" not in service.output()


def test_fifty_posts_with_one_job_id_at_once_make_one_build(service: Service) -> None:
    """The first submission is unfinished meanwhile, because its host does not answer."""
    service.archive.fail("/jobsite/fifty", action="hang", times=3)
    submission = {**body("fifty"), "url": "https://github.com/jobsite/fifty/blob/main/myst.yml"}
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: service.call("POST", json=submission), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert [attempt["number"] for attempt in service.status("fifty")["attempts"]] == [1]
    service.call("POST", "/fifty/cancel", json={})


def test_a_newer_submission_for_the_node_supersedes_the_older_one(service: Service) -> None:
    service.archive.add("jobsite", "slow", {"myst.yml": "version: 1\n", "index.md": "# P\n"})
    service.archive.fail("/jobsite/slow", action="hang", times=3)
    first = {**body("older"), "uuid": "one-node.", "url": "https://github.com/jobsite/slow/blob/main/myst.yml"}
    service.post(first)
    service.post({**body("newer"), "uuid": "one-node."})
    status = service.wait("older", "cancelled")
    assert status["state"] == "cancelled"
    service.desci.wait_for(lambda server: server.statuses("older")[-1:] == ["FAILED"], timeout=WAIT_SECONDS)
    assert "Superseded by the newer submission newer" in service.desci.updates["older"][-1].message
