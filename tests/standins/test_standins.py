"""The stand-ins behave like the services they replace. The other tests rely on that."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.standins import ArchiveHost, DesciServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECRET = {"X-Internal-Secret": "test-secret"}
FILES: dict[str, str | bytes] = {"myst.yml": "version: 1\n", "text/überblick.md": "# Ü\n", "exports/old.pdf": b"%PDF"}


@pytest.fixture
def host() -> Iterator[ArchiveHost]:
    with ArchiveHost() as host:
        yield host


@pytest.fixture
def desci() -> Iterator[DesciServer]:
    with DesciServer() as server:
        yield server


def archive_of(host: ArchiveHost, path: str) -> zipfile.ZipFile:
    answer = requests.get(host.url + path, timeout=5)
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.content))


def send_update(
    desci: DesciServer, job_id: str, status: str, *, headers: Mapping[str, str] = SECRET, timeout: float = 5
) -> requests.Response:
    url = f"{desci.url}/v1/nodes/node./github-myst-import/{job_id}/updateStatus"
    return requests.post(url, json={"status": status, "message": "m"}, headers=headers, timeout=timeout)


def deliver(
    desci: DesciServer, job_id: str, files: list[Any], *, headers: Mapping[str, str] = SECRET, timeout: float = 5
) -> requests.Response:
    url = f"{desci.url}/v1/nodes/node./finalize-myst-import/{job_id}/receiveFiles"
    data = {"uuid": "node.", "contextPath": "root"}
    return requests.post(url, files=files, data=data, headers=headers, timeout=timeout)


def file(name: str, content: bytes = b"content", kind: str = "text/plain") -> tuple[str, tuple[str, bytes, str]]:
    return ("files", (name, content, kind))


# The archive host


def test_an_archive_is_one_folder_with_the_commit_as_its_comment(host: ArchiveHost) -> None:
    commit = host.add("Owner", "Repo", FILES, ref="feature/a.b", links={"link.md": "text/überblick.md"})
    with archive_of(host, "/owner/repo/archive/refs/heads/feature/a.b.zip") as archive:
        assert archive.comment.decode() == commit
        assert archive.namelist()[:3] == ["Repo-feature-a.b/", "Repo-feature-a.b/exports/", "Repo-feature-a.b/text/"]
        assert archive.read("Repo-feature-a.b/text/überblick.md").decode() == "# Ü\n"
        assert archive.read("Repo-feature-a.b/link.md").decode() == "text/überblick.md"
        assert archive.getinfo("Repo-feature-a.b/link.md").external_attr >> 16 == 0o120777
        assert archive.getinfo("Repo-feature-a.b/myst.yml").external_attr == 0


def test_a_folder_keeps_programs_and_links_and_excludes_results_of_builds(host: ArchiveHost, tmp_path: Path) -> None:
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "left.txt").write_text("x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "run.sh").chmod(0o755)
    (tmp_path / "folder").symlink_to("bin")
    host.add("o", "r", tmp_path)
    with archive_of(host, "/o/r/archive/main.zip") as archive:
        assert archive.namelist() == ["r-main/", "r-main/bin/", "r-main/bin/run.sh", "r-main/folder"]
        assert archive.getinfo("r-main/bin/run.sh").external_attr >> 16 == 0o100755
        assert archive.read("r-main/folder") == b"bin"


@pytest.mark.parametrize("wanted", ["refs/heads/main", "main", "refs/tags/v1", "v1", "{commit}", "{commit:.8}"])
def test_every_name_of_a_commit_redirects_to_it(host: ArchiveHost, wanted: str) -> None:
    commit = host.add("o", "r", FILES)
    assert host.add("o", "r", FILES, ref="v1", kind="tags") == commit
    answer = requests.get(f"{host.url}/o/r/archive/{wanted.format(commit=commit)}.zip", timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{host.url}/codeload/o/r/zip/{commit}")


@pytest.mark.parametrize("path", ["/o/none/archive/main.zip", "/o/r/archive/none.zip", "/o/r/archive/refs/tags/main.zip", "/"])
def test_an_unknown_path_is_answered_with_404(host: ArchiveHost, path: str) -> None:
    host.add("o", "r", FILES)
    answer = requests.get(host.url + path, timeout=5)
    assert (answer.status_code, answer.text) == (404, "Not Found")


def test_a_name_of_both_a_branch_and_a_tag_is_ambiguous(host: ArchiveHost) -> None:
    host.add("o", "r", FILES, ref="v1")
    host.add("o", "r", {"a": "b"}, ref="v1", kind="tags")
    assert requests.get(f"{host.url}/o/r/archive/v1.zip", timeout=5).status_code == 300


@pytest.mark.parametrize("with_length", [True, False])
def test_an_archive_comes_with_a_length_or_in_chunks(with_length: bool) -> None:
    with ArchiveHost(content_length=with_length) as host:
        commit = host.add("o", "r", {"data": os.urandom(300_000)})
        answer = requests.get(f"{host.url}/o/r/archive/main.zip", timeout=5)
    assert ("Content-Length" in answer.headers, "Transfer-Encoding" in answer.headers) == (with_length, not with_length)
    assert answer.content.endswith(commit.encode())


def test_an_existing_archive_is_served_unchanged(host: ArchiveHost) -> None:
    host.add("o", "source", FILES)
    data = requests.get(f"{host.url}/o/source/archive/main.zip", timeout=5).content
    commit = host.add_zip("o", "copy", "main", data)
    assert requests.get(f"{host.url}/o/copy/archive/{commit}.zip", timeout=5).content == data


def listed(host: ArchiveHost) -> list[str]:
    """The lines of a list of refs, unpacked from git's framing. A flush packet is an empty line."""
    data = requests.get(f"{host.url}/o/r.git/info/refs?service=git-upload-pack", timeout=5).content
    lines, at = [], 0
    while at < len(data):
        size = int(data[at : at + 4], 16) or 4
        lines.append(data[at + 4 : at + size].decode())
        at += size
    return lines


def test_refs_are_listed_in_git_s_framing(host: ArchiveHost) -> None:
    main = host.add("o", "r", FILES)
    old = host.add("o", "r", {"a": "b"}, ref="v/1", kind="tags", annotated=True)
    service, flush, head, branch, tag, peeled, end = listed(host)
    assert (service, flush, end) == ("# service=git-upload-pack\n", "", "")
    assert head.startswith(f"{main} HEAD\0")
    assert "symref=HEAD:refs/heads/main" in head
    assert branch == f"{main} refs/heads/main\n"
    assert tag.endswith(" refs/tags/v/1\n")
    assert not tag.startswith(old)
    assert peeled == f"{old} refs/tags/v/1^{{}}\n"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_can_read_the_list_of_refs(host: ArchiveHost) -> None:
    commit = host.add("o", "r", FILES)
    command = ["git", "ls-remote", "--symref", f"{host.url}/o/r.git"]
    found = subprocess.run(command, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["ref: refs/heads/main\tHEAD", f"{commit}\tHEAD", f"{commit}\trefs/heads/main"]


def test_the_refs_of_an_unknown_repository_ask_for_a_sign_in(host: ArchiveHost) -> None:
    answer = requests.get(f"{host.url}/o/none.git/info/refs?service=git-upload-pack", timeout=5)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_a_plain_host_lists_no_refs_and_a_proxy_redirects_unknown_repositories() -> None:
    refs = "/o/r.git/info/refs?service=git-upload-pack"
    with ArchiveHost(listing=False) as plain, ArchiveHost(proxy="https://host.example/") as proxy:
        plain.add("o", "r", FILES)
        assert requests.get(plain.url + refs, timeout=5).status_code == 404
        for path in (refs, "/o/r/archive/main.zip"):
            answer = requests.get(proxy.url + path, timeout=5, allow_redirects=False)
            assert (answer.status_code, answer.headers["Location"]) == (302, f"https://host.example{path}")


def test_a_fault_of_the_archive_host_happens_as_often_as_requested(host: ArchiveHost) -> None:
    host.add("o", "r", {"data": os.urandom(50_000)})
    url = f"{host.url}/o/r/archive/main.zip"
    host.fail("/archive/", status=429, times=2, headers={"Retry-After": "7"})
    answers = [requests.get(url, timeout=5) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"
    host.fail("/archive/", action="redirect", location=f"{host.url}/elsewhere")
    assert requests.get(url, timeout=5).url == f"{host.url}/elsewhere"
    assert [(r.method, r.path, r.code) for r in host.requests][:1] == [("GET", "/o/r/archive/main.zip", 429)]


@pytest.mark.parametrize("with_length", [True, False])
def test_an_archive_can_be_truncated(with_length: bool) -> None:
    with ArchiveHost(content_length=with_length) as host:
        host.add("o", "r", {"data": os.urandom(300_000)})
        host.fail("/o/r/", action="truncate")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(f"{host.url}/o/r/archive/main.zip", timeout=5)
        assert requests.get(f"{host.url}/o/r/archive/main.zip", timeout=5).ok


def test_a_connection_can_be_reset_or_hang(host: ArchiveHost) -> None:
    host.fail("/a", action="reset")
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.get(f"{host.url}/a", timeout=5)
    host.fail("/a", action="hang")
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{host.url}/a", timeout=0.2)
    assert [request.code for request in host.requests] == [0, 0]


# desci-server


def test_status_updates_are_kept_with_their_answers(desci: DesciServer) -> None:
    codes = [send_update(desci, "a%2Fb", status).status_code for status in ("IN_PROGRESS", "done", "COMPLETED")]
    assert codes == [200, 500, 200]
    first = desci.updates["a/b"][0]
    assert (first.node_uuid, first.status, first.message) == ("node.", "IN_PROGRESS", "m")
    assert [update.code for update in desci.updates["a/b"]] == codes
    assert desci.statuses("a/b") == ["IN_PROGRESS", "COMPLETED"]


def test_an_unknown_secret_job_or_node_is_refused(desci: DesciServer) -> None:
    wrong = {"X-Internal-Secret": "wrong"}
    assert (send_update(desci, "j", "FAILED", headers=wrong).json()["message"]) == "Unauthorized"
    assert deliver(desci, "j", [file("a")], headers=wrong).status_code == 401
    desci.forget("j")
    for answer in (send_update(desci, "j", "FAILED"), deliver(desci, "j", [file("a")])):
        assert (answer.status_code, answer.json()["message"]) == (404, "Job not found")
    desci.forget_node("node.")
    assert (send_update(desci, "j", "FAILED").json()["message"]) == "User or node not found"
    assert not desci.statuses("j")
    assert not desci.deliveries["j"]


def test_only_expected_jobs_are_known_without_accept_any() -> None:
    with DesciServer(accept_any=False) as desci:
        assert send_update(desci, "j", "IN_PROGRESS").status_code == 404
        desci.expect("j")
        assert send_update(desci, "j", "IN_PROGRESS").status_code == 200


def test_a_delivery_keeps_its_parts_in_order(desci: DesciServer) -> None:
    big = os.urandom(1_000_000) + b"\r\n--"
    files = [file("a.pdf", big, "application/pdf"), file("/exports/m.meca/ü \N{SNOWMAN}.md"), file("/exports/.empty", b"")]
    assert deliver(desci, "j", files).json() == {"ok": True}
    [delivery] = desci.deliveries["j"]
    assert [part.filename for part in delivery.parts] == ["a.pdf", "/exports/m.meca/ü \N{SNOWMAN}.md", "/exports/.empty"]
    first = delivery.parts[0]
    assert (first.field, first.size, first.content_type) == ("files", len(big), "application/pdf")
    assert first.sha256 == hashlib.sha256(big).hexdigest()
    assert Path(first.path).read_bytes() == big
    assert set(first.headers) == {"Content-Disposition", "Content-Type"}
    assert delivery.parts[2].size == 0
    assert delivery.fields == {"uuid": "node.", "contextPath": "root"}
    assert desci.task_states["j"] == "COMPLETED"


def form(*parts: str) -> bytes:
    return "".join(f"--B\r\n{part}\r\n" for part in parts).encode() + b"--B--\r\n"


def post_form(desci: DesciServer, body: Any) -> requests.Response:
    headers = {**SECRET, "Content-Type": "multipart/form-data; boundary=B"}
    url = f"{desci.url}/v1/nodes/node./finalize-myst-import/j/receiveFiles"
    return requests.post(url, data=body, headers=headers, timeout=5)


def test_a_file_with_a_bare_quote_in_its_name_is_lost_silently(desci: DesciServer) -> None:
    names = ['a"b.md', "a%22b.md", "plain.md"]
    parts = [f'Content-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nx' for name in names]
    assert post_form(desci, form(*parts, 'Content-Disposition: form-data; name="uuid"\r\n\r\nnode.')).ok
    [delivery] = desci.deliveries["j"]
    assert [part.filename for part in delivery.parts] == ["a%22b.md", "plain.md"]
    assert delivery.order == ["files", "files", "uuid"]
    assert len(delivery.lost) == 1


def test_a_delivery_without_files_length_or_end_is_refused(desci: DesciServer) -> None:
    whole = form('Content-Disposition: form-data; name="files"; filename="a"\r\n\r\nx')
    answers = [post_form(desci, body) for body in (form(), iter([whole]), whole[:-9])]
    assert [answer.status_code for answer in answers] == [400, 411, 500]
    assert answers[0].json()["message"] == "No files received"
    assert not desci.deliveries["j"]


def test_a_failed_task_rejects_files_until_it_is_in_progress_again(desci: DesciServer) -> None:
    send_update(desci, "j", "FAILED")
    refused = deliver(desci, "j", [file("a")])
    assert (refused.status_code, refused.json()["message"]) == (400, "Job failed")
    send_update(desci, "j", "IN_PROGRESS")
    assert deliver(desci, "j", [file("a")]).ok
    assert len(desci.deliveries["j"]) == 1


def test_desci_server_can_fail(desci: DesciServer) -> None:
    desci.fail(502, times=1, where="updateStatus", body="<h1>Bad gateway</h1>")
    assert deliver(desci, "j", [file("a")]).ok
    assert send_update(desci, "j", "IN_PROGRESS").text == "<h1>Bad gateway</h1>"
    desci.fail(for_seconds=0.3)
    assert send_update(desci, "j", "IN_PROGRESS").status_code == 500
    time.sleep(0.3)
    assert send_update(desci, "j", "IN_PROGRESS").status_code == 200
    desci.fail()
    assert deliver(desci, "j", [file("a")]).status_code == 500
    desci.end_faults()
    assert deliver(desci, "j", [file("a")]).ok


def test_desci_server_can_hang_or_cut_the_connection(desci: DesciServer) -> None:
    desci.hang()
    with pytest.raises(requests.ReadTimeout):
        deliver(desci, "j", [file("a")], timeout=0.2)
    desci.reset("", times=1)
    with pytest.raises(requests.ConnectionError):
        deliver(desci, "j", [file("a", os.urandom(20_000_000))])
    assert not desci.deliveries["j"]
    assert deliver(desci, "j", [file("a")]).ok


def test_desci_server_can_go_down_and_come_back_at_its_address(desci: DesciServer) -> None:
    with requests.Session() as session:
        assert session.get(f"{desci.url}/_standin/updates", timeout=5).json() == {}
        desci.down()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{desci.url}/_standin/updates", timeout=5)
        desci.up()
        assert session.get(f"{desci.url}/_standin/updates", timeout=5).ok


def test_a_wait_that_times_out_says_what_was_received(desci: DesciServer) -> None:
    send_update(desci, "j", "IN_PROGRESS")
    desci.wait_for(lambda server: server.updates["j"], timeout=1)
    with pytest.raises(AssertionError, match=r"j: IN_PROGRESS \(200\) 'm'"):
        desci.wait_for(lambda server: server.deliveries["j"], timeout=0.1)


def test_nothing_is_left_after_closing(capfd: pytest.CaptureFixture[str]) -> None:
    threads = threading.active_count()
    with DesciServer() as desci:
        desci.hang("updateStatus")
        with pytest.raises(requests.ReadTimeout):
            send_update(desci, "j", "FAILED", timeout=0.1)
        deliver(desci, "j", [file("a")])
        [kept] = [part.path for part in desci.deliveries["j"][0].parts]
    assert not Path(kept).exists()
    assert threading.active_count() <= threads + 1
    assert capfd.readouterr().err == ""


# As a separate process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_run_as_one_process_controlled_over_http(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.standins", "--secret", "s", "--proxy", "https://host.example"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        github, desci = (process.stdout.readline().strip().partition("=") for _ in range(2))
        assert (github[0], desci[0]) == ("GITHUB_URL", "DESCI_SERVER_URL")
        _use_over_http(desci[2])
        process.send_signal(number)
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def _use_over_http(url: str) -> None:
    def send() -> int:
        update = {"status": "FAILED", "message": ""}
        path = "/v1/nodes/n/github-myst-import/j/updateStatus"
        return requests.post(url + path, json=update, headers={"X-Internal-Secret": "s"}, timeout=5).status_code

    requests.post(f"{url}/_standin/fail", json={"status": 503, "times": 1}, timeout=5).raise_for_status()
    codes = [send(), send()]
    requests.post(f"{url}/_standin/forget", json={"job_id": "j"}, timeout=5).raise_for_status()
    codes.append(send())
    assert codes == [503, 200, 404]
    assert [heard["code"] for heard in requests.get(f"{url}/_standin/updates", timeout=5).json()["j"]] == codes
    assert requests.get(f"{url}/_standin/deliveries", timeout=5).json() == {}
    assert requests.post(f"{url}/_standin/fail", json={"unknown": 1}, timeout=5).status_code == 400


# Faults that a client must survive


@pytest.mark.parametrize("headers", [True, False])
def test_an_answer_drips_until_the_client_goes_away(desci: DesciServer, headers: bool) -> None:
    desci.drip("updateStatus", headers=headers, every=0.01)
    with socket.create_connection(("127.0.0.1", desci.port), timeout=30) as client:
        client.sendall(b"POST /v1/nodes/n/github-myst-import/j/updateStatus HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        pieces = [client.recv(65536) for _ in range(20)]
    assert all(pieces)
    assert (b"\r\n\r\n" in b"".join(pieces)) is not headers
    assert desci.statuses("j") == []


@pytest.mark.parametrize("html", [True, False])
def test_a_lie_changes_nothing(desci: DesciServer, html: bool) -> None:
    desci.lie(html=html, times=2)
    answer = send_update(desci, "job", "COMPLETED")
    assert (answer.status_code, "ok" in answer.text) == (200, not html)
    assert deliver(desci, "job", [file("a.pdf")]).status_code == 200
    assert (desci.statuses("job"), desci.task_states, desci.deliveries["job"]) == ([], {}, [])
    assert send_update(desci, "job", "COMPLETED").json() == {"ok": True}
    assert desci.statuses("job") == ["COMPLETED"]


def test_a_flood_is_larger_than_any_answer(desci: DesciServer) -> None:
    desci.flood()
    with socket.create_connection(("127.0.0.1", desci.port), timeout=30) as client:
        client.sendall(b"POST /v1/nodes/n/github-myst-import/j/updateStatus HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        received = 0
        while received < 10_000_000:
            received += len(client.recv(1 << 20))


def test_a_limit_says_how_long_to_wait(host: ArchiveHost) -> None:
    host.limit("/archive/", seconds=1800, times=1)
    answer = requests.get(f"{host.url}/o/r/archive/main.zip", timeout=5)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1800")
    assert requests.get(f"{host.url}/o/r/archive/main.zip", timeout=5).status_code == 404


def test_raw_bytes_are_sent_instead_of_an_answer(desci: DesciServer) -> None:
    desci.garble(b"SSH-2.0\r\n")
    with pytest.raises(requests.ConnectionError):
        send_update(desci, "job", "COMPLETED")
