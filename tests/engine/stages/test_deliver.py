"""The stage deliver, against the stand-in over a real socket."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builds.engine.clients.desci import DesciServer
from builds.engine.context import Limits
from builds.engine.manuscript.exports import Export
from builds.engine.stages.deliver import deliver
from builds.engine.tools import meca as meca_tool
from builds.errors import (
    BuildError,
    BuildStopped,
    DesciServerDown,
    DesciServerJobFailed,
    DesciServerRefused,
    ExportBroken,
    NobodyWaits,
    SecretRefused,
)
from builds.lib.stop import Stop
from tests import standins
from tests.support.stage_context import KeptLog, KeptReport, make_context
from tests.support.zip_files import rename_like_newer_python, renaming_extra, zipped

pytestmark = pytest.mark.usefixtures("must_end")

SECRET = "test-secret"
MEMBERS = {
    "manifest.xml": b"<manifest/>",
    "bundle/b.md": b"b",
    "bundle/a/z.md": b"z",
    "bundle/a.md": b"a",
    "bundle/.hidden": b"",
    "bundle/a-b/c": b"c",
    'bundle/quo"te.md': b"q",
    "Article.xml": b"<article/>",
    "bundle/ü.md": b"u",
}
# Depth first, each folder's entries in byte order: the folder `a` comes before `a-b` and `a.md`.
IN_ORDER = [
    "Article.xml",
    "bundle/.hidden",
    "bundle/a/z.md",
    "bundle/a-b/c",
    "bundle/a.md",
    "bundle/b.md",
    "bundle/quo%22te.md",
    "bundle/ü.md",
    "manifest.xml",
]


@pytest.fixture
def desci() -> Iterator[standins.DesciServer]:
    with standins.DesciServer(SECRET) as server:
        yield server


def export(folder: Path, role: str, name: str, data: bytes = b"data") -> Export:
    path = folder / f"{role}.file"
    path.write_bytes(data)
    return Export(role, name, path, len(data), hashlib.sha256(data).hexdigest())


def meca(folder: Path, members: dict[str, bytes] = MEMBERS) -> Export:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle/", b"")
        archive.writestr("empty/", b"")
        for name, data in members.items():
            archive.writestr(name, data)
    return Export("meca", "/exports/a.meca", path, path.stat().st_size, "")


def context(tmp_path: Path, desci: standins.DesciServer, **overrides: Any) -> Any:
    return make_context(tmp_path, **{"desci_server": DesciServer(desci.url, SECRET), "node_uuid": "abc/123.", **overrides})


def test_files_and_fields_arrive_as_the_contract_says(tmp_path: Path, desci: standins.DesciServer) -> None:
    exports = [
        export(tmp_path, "page-content", "index.json"),
        meca(tmp_path),
        export(tmp_path, "typst", "t.pdf"),
        export(tmp_path, "pdf", "p.pdf"),
    ]
    deliver(context(tmp_path, desci), exports)
    [delivery] = desci.deliveries["job-1"]
    names = [part.filename for part in delivery.parts]
    assert names == ["p.pdf", "t.pdf", *(f"/exports/a.meca/{name}" for name in IN_ORDER), "index.json"]
    assert delivery.order == ["files"] * len(names) + ["uuid", "contextPath"]
    assert delivery.fields == {"uuid": "abc/123.", "contextPath": "root"}
    assert delivery.lost == []
    assert all(set(part.headers) == {"Content-Disposition", "Content-Type"} for part in delivery.parts)
    contents = {
        part.filename.removeprefix("/exports/a.meca/").replace("%22", '"'): Path(part.path).read_bytes()
        for part in delivery.parts
    }
    assert {name: contents[name] for name in MEMBERS} == MEMBERS


def test_a_file_whose_second_name_leads_out_of_the_meca_is_not_sent(
    tmp_path: Path, desci: standins.DesciServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename_like_newer_python(monkeypatch)
    info = zipfile.ZipInfo("bundle/good.txt")
    info.extra = renaming_extra("bundle/good.txt", "../../../../evil.txt")
    path = zipped(tmp_path / "a.zip", ("manifest.xml", b"<m/>"), (info, b"x"))
    assert [kind for kind, _text in meca_tool.read(path, max_entries=9, max_bytes=99)] == ["problem"]
    with pytest.raises(ExportBroken, match=r"contains '\.\./\.\./\.\./\.\./evil\.txt', a path that leads out of it"):
        deliver(context(tmp_path, desci), [Export("meca", "/exports/a.meca", path, path.stat().st_size, "")])
    assert "job-1" not in desci.deliveries


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"no zip",
        lambda data: data.replace(b"some content", b"s0me content"),
        lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x02\xff", 1),
        lambda data: data.replace(b"PK\x05\x06\0\0\0\0", b"PK\x05\x06\0\0\0\0\xf0\xff\xf0\xff", 1),
    ],
    ids=["not a zip", "another content", "another list", "a longer list"],
)
def test_a_meca_that_was_damaged_since_it_was_checked_is_not_delivered(
    tmp_path: Path, desci: standins.DesciServer, damage: Any
) -> None:
    path = zipped(tmp_path / "a.zip", ("manifest.xml", b"some content"), compression=zipfile.ZIP_STORED)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ExportBroken):
        deliver(context(tmp_path, desci), [Export("meca", "/exports/a.meca", path, path.stat().st_size, "")])
    assert "job-1" not in desci.deliveries


def test_the_request_has_a_length_and_the_secret(tmp_path: Path, desci: standins.DesciServer) -> None:
    deliver(context(tmp_path, desci), [export(tmp_path, "pdf", "p.pdf")])
    [request] = desci.requests
    assert request.path == "/v1/nodes/abc%2F123./finalize-myst-import/job-1/receiveFiles"
    assert request.headers["X-Internal-Secret"] == SECRET
    assert "Transfer-Encoding" not in request.headers
    assert int(request.headers["Content-Length"]) > 100


def test_progress_is_reported_in_bytes(tmp_path: Path, desci: standins.DesciServer) -> None:
    report = KeptReport()
    deliver(context(tmp_path, desci, report=report), [export(tmp_path, "pdf", "p.pdf", b"x" * 5_000_000)])
    done, total = report.steps[-1]
    assert done == total
    assert done > 5_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble",
    [
        lambda desci: desci.fail(500, times=2),
        lambda desci: desci.fail(404, times=1, body="<html>nginx</html>"),
        lambda desci: desci.fail(429, times=1),
        lambda desci: desci.reset("receiveFiles", times=2),
        lambda desci: desci.hang("receiveFiles", times=1),
        lambda desci: desci.lie("receiveFiles", times=1),
        lambda desci: desci.lie("receiveFiles", times=1, html=False),
        lambda desci: desci.drip("receiveFiles", times=1, every=0.05),
        lambda desci: desci.drip("receiveFiles", times=1, every=0.05, headers=True),
        lambda desci: desci.flood("receiveFiles"),
    ],
    ids=["500", "404 of a proxy", "429", "reset", "hang", "200 of a proxy", "not ok", "drip", "drip of headers", "flood"],
)
def test_a_temporary_failure_is_tried_again(tmp_path: Path, desci: standins.DesciServer, monkeypatch: Any, trouble: Any) -> None:
    monkeypatch.setattr("builds.engine.clients.desci.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("builds.engine.clients.desci.MIN_SEND_SECONDS", 0.3)
    trouble(desci)
    log = KeptLog()
    limits = Limits(delivery_seconds=20)
    deliver(context(tmp_path, desci, log=log, limits=limits), [export(tmp_path, "pdf", "p.pdf")])
    assert len(desci.deliveries["job-1"]) == 1
    assert "Try 2: desci-server answered 200" in str(log) or "Try 3: desci-server answered 200" in str(log)


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (lambda desci: desci.forget("job-1"), NobodyWaits),
        (lambda desci: desci.forget_node("abc/123."), NobodyWaits),
        (lambda desci: desci.fail(400, body={"message": "Job failed"}), DesciServerJobFailed),
        (lambda desci: desci.fail(400, body={"message": "No files received"}), DesciServerRefused),
        (lambda desci: desci.fail(413), DesciServerRefused),
        (lambda desci: desci.fail(302), DesciServerRefused),
    ],
    ids=["job gone", "node gone", "job failed", "no files", "too large", "redirect"],
)
def test_a_final_answer_is_raised_at_once(
    tmp_path: Path, desci: standins.DesciServer, trouble: Any, error: type[Exception]
) -> None:
    trouble(desci)
    with pytest.raises(error):
        deliver(context(tmp_path, desci), [export(tmp_path, "pdf", "p.pdf")])
    assert len(desci.requests) == 1


@pytest.mark.parametrize(("code", "error"), [(500, DesciServerDown), (401, SecretRefused)])
def test_delivery_fails_after_its_seconds(
    tmp_path: Path, desci: standins.DesciServer, code: int, error: type[BuildError]
) -> None:
    desci.fail(code, body={"message": "Unauthorized" if code == 401 else "broken"})
    with pytest.raises(error):
        deliver(context(tmp_path, desci, limits=Limits(delivery_seconds=1)), [export(tmp_path, "pdf", "p.pdf")])


def test_an_answer_before_the_end_of_the_files_is_read(tmp_path: Path, desci: standins.DesciServer) -> None:
    """The stand-in refuses by the path, without reading 50 MB, and closes."""
    desci.forget("job-1")
    with pytest.raises(NobodyWaits):
        deliver(
            context(tmp_path, desci, limits=Limits(delivery_seconds=20)),
            [export(tmp_path, "pdf", "p.pdf", b"x" * 50_000_000)],
        )


def test_nothing_is_sent_before_the_status_update_was_received(tmp_path: Path, desci: standins.DesciServer) -> None:
    heard = threading.Event()
    asked: list[bool] = []

    def acknowledged() -> bool:
        asked.append(bool(desci.requests))
        if len(asked) == 3:
            heard.set()
        return heard.is_set()

    deliver(context(tmp_path, desci, acknowledged=acknowledged), [export(tmp_path, "pdf", "p.pdf")])
    assert asked == [False] * 3


def test_nothing_is_sent_without_an_acknowledgement(tmp_path: Path, desci: standins.DesciServer) -> None:
    limits = Limits(delivery_seconds=0.3)
    with pytest.raises(DesciServerDown, match="status update"):
        deliver(context(tmp_path, desci, acknowledged=lambda: False, limits=limits), [export(tmp_path, "pdf", "p.pdf")])
    assert desci.requests == []


def test_a_stop_interrupts_the_sending(tmp_path: Path, desci: standins.DesciServer) -> None:
    stop = Stop()
    stopped_after = 20
    report = KeptReport()
    check, calls = stop.check, []

    def checked() -> None:
        calls.append(1)
        if len(calls) == stopped_after:
            stop.set("Cancelled.")
        check()

    stop.check = checked  # type: ignore[method-assign]
    with pytest.raises(BuildStopped):
        deliver(context(tmp_path, desci, stop=stop, report=report), [export(tmp_path, "pdf", "p.pdf", b"x" * 100_000_000)])
    assert not desci.deliveries["job-1"]
