"""What desci-server's answers mean, and what a status update is on the wire."""

from __future__ import annotations

import pytest

from builds.clients.desci import Answer, DesciServer, Outcome, classify
from builds.errors import DesciServerDown
from tests import standins

SECRET = "test-secret"


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (200, "", Outcome.OK),
        (200, '{"ok": false}', Outcome.OK),
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
def test_what_an_answer_means(code: int, body: str, outcome: Outcome) -> None:
    assert classify(Answer(code, body, 0.1)) == outcome


def test_a_status_update_is_sent_as_the_contract_has_it() -> None:
    with standins.DesciServer(SECRET) as server:
        answer = DesciServer(server.url, SECRET).update_status("node/ü.", "job 1", "IN_PROGRESS", "Queued. ü")
        [request] = server.requests
        [update] = server.updates["job 1"]
    assert (answer.code, update.node_uuid, update.status, update.message) == (200, "node/ü.", "IN_PROGRESS", "Queued. ü")
    assert request.path == "/v1/nodes/node%2F%C3%BC./github-myst-import/job%201/updateStatus"
    assert (request.headers["X-Internal-Secret"], request.headers["Content-Type"]) == (SECRET, "application/json")


def test_no_answer_is_told_as_such() -> None:
    with pytest.raises(DesciServerDown, match="could not be reached"):
        DesciServer("http://127.0.0.1:9", SECRET).update_status("n", "j", "FAILED", "")


def test_a_connection_that_is_cut_is_told_as_such() -> None:
    with standins.DesciServer(SECRET) as server:
        server.reset("updateStatus")
        with pytest.raises(DesciServerDown):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")


def test_an_answer_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.clients.desci.STATUS_TIME_LIMITS", (1, 0.2))
    with standins.DesciServer(SECRET) as server:
        server.hang("updateStatus")
        with pytest.raises(DesciServerDown, match="did not answer in time"):
            DesciServer(server.url, SECRET).update_status("n", "j", "FAILED", "")
