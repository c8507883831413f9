"""The meaning of desci-server's answers, and a status update on the wire."""

from __future__ import annotations

import gc
import gzip

import pytest

from builds.engine.clients.desci import Answer, DesciServer, Outcome, classify
from builds.errors import DesciServerDown
from tests import standins
from tests.standins import GARBAGE

pytestmark = pytest.mark.usefixtures("must_end")

SECRET = "test-secret"


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (200, '{"ok": true}', Outcome.OK),
        (200, '{"ok": true, "data": {"jobId": "job-1"}}', Outcome.OK),
        (200, "", Outcome.TRY_AGAIN),
        (200, '{"ok": false}', Outcome.TRY_AGAIN),
        (200, '{"ok": "true"}', Outcome.TRY_AGAIN),
        (200, '[{"ok": true}]', Outcome.TRY_AGAIN),
        (200, '{"ok": true', Outcome.TRY_AGAIN),
        (200, "[" * 60_000, Outcome.TRY_AGAIN),
        (200, "1" * 60_000, Outcome.TRY_AGAIN),
        (200, "<html>Sign in. Job not found</html>", Outcome.TRY_AGAIN),
        (201, '{"ok": true}', Outcome.REFUSED),
        (404, '{"message": "Job not found"}', Outcome.GONE),
        (404, "Job not found", Outcome.GONE),
        (404, "<html>nginx</html>", Outcome.TRY_AGAIN),
        (404, "", Outcome.TRY_AGAIN),
        (401, '{"message": "User or node not found"}', Outcome.GONE),
        (401, '{"message": "Unauthorized"}', Outcome.UNAUTHORIZED),
        (401, "", Outcome.UNAUTHORIZED),
        (400, '{"message": "Job failed"}', Outcome.JOB_FAILED),
        (400, '{"message": "No files received"}', Outcome.REFUSED),
        (403, "", Outcome.REFUSED),
        (413, "", Outcome.REFUSED),
        (302, "", Outcome.REFUSED),
        (408, "", Outcome.TRY_AGAIN),
        (429, "", Outcome.TRY_AGAIN),
        (500, "", Outcome.TRY_AGAIN),
        (503, "Job not found", Outcome.TRY_AGAIN),
    ],
)
def test_an_answer_is_classified_by_code_and_body(code: int, body: str, outcome: Outcome) -> None:
    assert classify(Answer(code, body, 0.1)) == outcome


def test_a_200_of_another_kind_is_described_as_such() -> None:
    assert str(Answer(200, "<html>Sign in</html>", 0.1)) == "200, but not as desci-server does: <html>Sign in</html>"
    assert str(Answer(200, '{"ok": true}', 0.1)) == '200 {"ok": true}'


def test_a_status_update_is_sent_as_the_contract_says() -> None:
    with standins.DesciServer(SECRET) as server:
        answer = DesciServer(server.url, SECRET).update_status("node/ü.", "job 1", "IN_PROGRESS", "Queued. ü")
        [request] = server.requests
        [update] = server.updates["job 1"]
    assert (answer.code, update.node_uuid, update.status, update.message) == (200, "node/ü.", "IN_PROGRESS", "Queued. ü")
    assert request.path == "/v1/nodes/node%2F%C3%BC./github-myst-import/job%201/updateStatus"
    assert (request.headers["X-Internal-Secret"], request.headers["Content-Type"]) == (SECRET, "application/json")


def test_an_unreachable_server_raises_desci_server_down() -> None:
    with pytest.raises(DesciServerDown, match="could not be reached"):
        DesciServer("http://127.0.0.1:9", SECRET).update_status("n", "j", "FAILED", "")


def test_a_cut_connection_raises_desci_server_down() -> None:
    with standins.DesciServer(SECRET) as server:
        server.reset("updateStatus")
        with pytest.raises(DesciServerDown):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")


def test_a_missing_answer_raises_desci_server_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.engine.clients.desci.STATUS_TIME_LIMITS", (1, 0.2))
    with standins.DesciServer(SECRET) as server:
        server.hang("updateStatus")
        with pytest.raises(DesciServerDown, match="did not answer in time"):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
def test_a_server_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch, headers: bool) -> None:
    """Each byte comes within the time limit between two pieces, and the body is complete JSON from the beginning."""
    monkeypatch.setattr("builds.engine.clients.desci.STATUS_SECONDS", 0.6)
    with standins.DesciServer(SECRET) as server:
        server.drip(headers=headers, every=0.05)
        with pytest.raises(DesciServerDown, match="did not answer in time"):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")


def test_of_an_answer_without_an_end_only_the_beginning_is_read() -> None:
    with standins.DesciServer(SECRET) as server:
        server.flood()
        answer = DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")
    assert (len(answer.body), classify(answer)) == (64_000, Outcome.TRY_AGAIN)


def test_a_compressed_answer_is_not_decompressed() -> None:
    packed = gzip.compress(b" " * 10_000_000 + b'{"ok": true}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with standins.DesciServer(SECRET) as server:
        server.garble(head + packed)
        answer = DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")
    assert len(answer.body) <= 64_000
    assert classify(answer) == Outcome.TRY_AGAIN


# urllib3 leaves the socket of an answer that it cannot read to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("data", GARBAGE, ids=repr)
def test_garbage_is_a_failure_of_the_call(data: bytes) -> None:
    with standins.DesciServer(SECRET) as server:
        server.garble(data)
        with pytest.raises(DesciServerDown):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")
    gc.collect()


@pytest.mark.parametrize("location", ["http://[::1", "http://\xb2:\xb2/", "", "//"])
def test_a_redirect_is_not_followed_wherever_it_leads(location: str) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    with standins.DesciServer(SECRET) as server:
        server.garble(head.encode("latin-1"))
        assert DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "").code == 302
        assert len(server.requests) == 1
