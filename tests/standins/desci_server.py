"""A stand-in for desci-server: hears status updates, receives files, and has its answers to both."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import unquote

from tests.standins._server import HTML, Answer, Exchange, Fault, StandIn

SECRET = "test-secret"
STATUSES = frozenset({"PENDING", "IN_PROGRESS", "COMPLETED", "FAILED"})
CALL = re.compile(
    r"/v1/nodes/(?P<node>[^/]+)/"
    r"(?:github-myst-import/(?P<told>[^/]+)/updateStatus|finalize-myst-import/(?P<sent>[^/]+)/receiveFiles)"
)
OK = Answer.json(200, {"ok": True})
UNAUTHORIZED = Answer.json(401, {"ok": False, "message": "Unauthorized"})
NODE_NOT_FOUND = Answer.json(401, {"ok": False, "message": "User or node not found"})
JOB_NOT_FOUND = Answer.json(404, {"ok": False, "message": "Job not found"})
NO_FILES = Answer.json(400, {"ok": False, "message": "No files received"})
JOB_FAILED = Answer.json(400, {"ok": False, "message": "Job failed"})
BROKEN = Answer.json(500, {"ok": False, "message": "Internal Server Error"})
NO_LENGTH = Answer.json(411, {"ok": False, "message": "Content-Length required"})
FORM_ENDED = Answer.json(500, {"ok": False, "message": "Unexpected end of form"})

# A parameter of Content-Disposition: in quotes, with a backslash before a quote that belongs to it, or a bare word.
PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*')
ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True)
class Update:
    """A status update as it came; ``code`` is what was answered, 0 for nothing."""

    node_uuid: str
    status: str
    message: str
    code: int
    at: float


@dataclass(frozen=True)
class Part:
    """A received file: ``filename`` as sent, ``path`` where its content is kept ("" where it is not)."""

    field: str
    filename: str
    content_type: str
    headers: dict[str, str]
    sha256: str
    size: int
    path: str


@dataclass
class Delivery:
    """Files that were received, answered with 200. ``lost``: dispositions that the receiver could not read, and dropped."""

    node_uuid: str
    folder: Path | None
    parts: list[Part] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0


class FormEnded(ValueError):
    """The multipart body stopped before its last boundary."""


Records = TypeVar("Records", list[Update], list[Delivery])


class DesciServer(StandIn):
    """``accept_any`` off: only jobs told with :meth:`expect` are known. ``keep_files`` off: files are hashed and dropped."""

    def __init__(self, secret: str = SECRET, *, port: int = 0, accept_any: bool = True, keep_files: bool = True) -> None:
        super().__init__(port=port)
        self.secret = secret
        self.accept_any = accept_any
        self.keep_files = keep_files
        self.updates: defaultdict[str, list[Update]] = defaultdict(list)
        self.deliveries: defaultdict[str, list[Delivery]] = defaultdict(list)
        self.task_states: dict[str, str] = {}
        self._expected: set[str] = set()
        self._forgotten: set[str] = set()
        self._forgotten_nodes: set[str] = set()
        self._folder: Path | None = None
        self._slow, self._slow_until = 0.0, 0.0

    def start(self) -> Self:
        if self.keep_files:
            self._folder = Path(tempfile.mkdtemp(prefix="desci-server-"))
        return super().start()

    def close(self) -> None:
        super().close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # Switches

    def fail(
        self,
        status: int = 500,
        *,
        for_seconds: float = math.inf,
        times: float = math.inf,
        where: str = "",
        body: str | dict[str, Any] | None = None,
    ) -> None:
        """Answer ``status`` for a time, some times, or until :meth:`mend`; ``where``: updateStatus, receiveFiles, or both ("")."""
        if isinstance(body, str):
            answer = Answer.text(status, body, HTML)
        else:
            answer = Answer.json(status, body or {"ok": False, "message": "Internal Server Error"})
        self.add_fault(Fault("answer", where, answer, times, time.monotonic() + for_seconds))

    def hang(self, where: str = "receiveFiles", times: float = 1) -> None:
        """Read the next calls whole, and never answer them."""
        self.add_fault(Fault("hang", where, times=times))

    def reset(self, where: str = "receiveFiles", times: float = 1) -> None:
        """Cut the connections of the next calls midway."""
        self.add_fault(Fault("reset", where, times=times))

    def slow(self, seconds: float, *, for_seconds: float) -> None:
        """Think for ``seconds`` before each answer."""
        self._slow, self._slow_until = seconds, time.monotonic() + for_seconds

    def expect(self, job_id: str) -> None:
        """Know ``job_id`` (again)."""
        with self.lock:
            self._expected.add(job_id)
            self._forgotten.discard(job_id)

    def forget(self, job_id: str) -> None:
        """The import was cancelled: its task is gone."""
        with self.lock:
            self._forgotten.add(job_id)

    def forget_node(self, node_uuid: str) -> None:
        with self.lock:
            self._forgotten_nodes.add(node_uuid)

    # What was heard

    def statuses(self, job_id: str) -> list[str]:
        """The statuses that were accepted, in order."""
        with self.lock:
            return [update.status for update in self.updates[job_id] if update.code == 200]

    def wait_for(self, predicate: Callable[[DesciServer], object], timeout: float = 10.0) -> None:
        """Return once ``predicate`` holds; after ``timeout`` seconds, fail with what was heard instead."""
        until = time.monotonic() + timeout
        while True:
            with self.lock:
                if predicate(self):
                    return
                heard = self._heard()
            if time.monotonic() > until:
                raise AssertionError(f"not within {timeout} s; desci-server heard:\n{heard}")
            time.sleep(0.03)

    def _heard(self) -> str:
        lines = [f"  {job}: {u.status} ({u.code}) {u.message!r}" for job, updates in self.updates.items() for u in updates]
        for job, deliveries in self.deliveries.items():
            lines += [f"  {job}: {len(d.parts)} files, {[part.filename for part in d.parts[:5]]} …" for d in deliveries]
        return "\n".join(lines) or "  nothing"

    # Answering

    def respond(self, exchange: Exchange) -> None:
        if exchange.path.startswith("/_standin/"):
            exchange.send(self._control(exchange))
            return
        call = CALL.fullmatch(exchange.path.partition("?")[0])
        if call is None or exchange.command != "POST":
            exchange.send(Answer.text(404, f"Cannot {exchange.command} {exchange.path}", HTML))
            return
        if time.monotonic() < self._slow_until:
            time.sleep(self._slow)
        fault = self.take_fault(exchange.path)
        if fault and fault.action == "reset":
            exchange.reset()
        elif call["told"]:
            self._hear(exchange, unquote(call["node"]), unquote(call["told"]), fault)
        elif fault:
            exchange.suffer(fault, BROKEN)
        else:
            exchange.send(self._receive(exchange, unquote(call["node"]), unquote(call["sent"])))

    def _hear(self, exchange: Exchange, node_uuid: str, job_id: str, fault: Fault | None) -> None:
        """Take a status update: decide, keep, answer, in that order, so that who has the answer finds the record."""
        told = _json_object(exchange)
        status, message = str(told.get("status", "")), str(told.get("message", ""))
        with self.lock:
            answer = fault.answer if fault else self._refusal(exchange, node_uuid, job_id) or self._told(job_id, status)
            code = 0 if fault and fault.action == "hang" else answer.status
            self.updates[job_id].append(Update(node_uuid, status, message, code, time.time()))
        if fault:
            exchange.suffer(fault, answer)
        else:
            exchange.send(answer)

    def _told(self, job_id: str, status: str) -> Answer:
        if status not in STATUSES:
            return BROKEN
        self.task_states[job_id] = status
        return OK

    def _refusal(self, exchange: Exchange, node_uuid: str, job_id: str) -> Answer | None:
        """Why a call is refused before its content matters, or None."""
        if exchange.headers.get("X-Internal-Secret") != self.secret:
            return UNAUTHORIZED
        if node_uuid in self._forgotten_nodes:
            return NODE_NOT_FOUND
        if job_id in self._forgotten or not (self.accept_any or job_id in self._expected):
            return JOB_NOT_FOUND
        return None

    def _receive(self, exchange: Exchange, node_uuid: str, job_id: str) -> Answer:
        """Take files. They are read first and judged then, as the task may be deleted while they arrive."""
        if "Transfer-Encoding" in exchange.headers or "Content-Length" not in exchange.headers:
            return NO_LENGTH
        if exchange.headers.get("X-Internal-Secret") != self.secret:
            return UNAUTHORIZED
        folder = Path(tempfile.mkdtemp(dir=self._folder)) if self._folder else None
        delivery = Delivery(node_uuid, folder)
        answer = FORM_ENDED
        try:
            _read_form(exchange, delivery)
            answer = self._judge(exchange, job_id, delivery)
        except FormEnded:
            pass
        finally:
            if folder and answer is not OK:
                shutil.rmtree(folder)
        return answer

    def _judge(self, exchange: Exchange, job_id: str, delivery: Delivery) -> Answer:
        with self.lock:
            if refusal := self._refusal(exchange, delivery.node_uuid, job_id):
                return refusal
            if not delivery.parts:
                return NO_FILES
            if self.task_states.get(job_id) == "FAILED":
                return JOB_FAILED
            self.task_states[job_id] = "COMPLETED"
            self.deliveries[job_id].append(delivery)
        return OK

    def _control(self, exchange: Exchange) -> Answer:
        """The switches and records over HTTP, for when this runs as a process of its own."""
        given = _json_object(exchange)
        verb = f"{exchange.command} {exchange.path.removeprefix('/_standin/')}"
        if verb == "GET updates":
            return Answer.json(200, self._records(self.updates))
        if verb == "GET deliveries":
            return Answer.json(200, self._records(self.deliveries))
        try:
            if verb == "POST fail":
                self.fail(**given)
            elif verb == "POST forget":
                self.forget(given["job_id"])
            else:
                return Answer.json(404, {"ok": False, "message": f"no such switch: {verb}"})
        except (KeyError, TypeError) as error:
            return Answer.json(400, {"ok": False, "message": repr(error)})
        return OK

    def _records(self, records: defaultdict[str, Records]) -> dict[str, list[dict[str, Any]]]:
        with self.lock:
            return {job: [_plain(entry) for entry in entries] for job, entries in records.items() if entries}


def _plain(record: Update | Delivery) -> dict[str, Any]:
    """``record`` as JSON can hold it."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(record).items()}


def _json_object(exchange: Exchange) -> dict[str, Any]:
    """The JSON object in the request's body; an empty one where there is none."""
    try:
        value = json.loads(b"".join(exchange.body) or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_form(exchange: Exchange, delivery: Delivery) -> None:
    """Read the multipart body into ``delivery``, never more than a few blocks of it in memory at a time."""
    started = time.monotonic()
    boundary = exchange.headers.get_boundary()
    if boundary is None:
        return
    for headers, content in Form(exchange.body, boundary.encode()):
        _take_part(delivery, headers, content)
    delivery.seconds = time.monotonic() - started


def _take_part(delivery: Delivery, headers: dict[str, str], content: Iterator[bytes]) -> None:
    disposition = next((value for name, value in headers.items() if name.lower() == "content-disposition"), "")
    names = _disposition(disposition)
    if names is None or "name" not in names:
        delivery.lost.append(disposition)
        return
    delivery.order.append(names["name"])
    if "filename" in names:
        delivery.parts.append(_store(delivery, names["name"], names["filename"], headers, content))
    else:
        delivery.fields[names["name"]] = b"".join(content).decode()


def _store(delivery: Delivery, name: str, filename: str, headers: dict[str, str], content: Iterator[bytes]) -> Part:
    """Hash the file, and keep it under a number: its name may say anything."""
    path = delivery.folder / f"{len(delivery.parts):06}" if delivery.folder else None
    digest, size = hashlib.sha256(), 0
    with Path(path or os.devnull).open("wb") as kept:
        for block in content:
            digest.update(block)
            size += kept.write(block)
    content_type = next((value for key, value in headers.items() if key.lower() == "content-type"), "")
    return Part(name, filename, content_type, headers, digest.hexdigest(), size, str(path or ""))


def _disposition(value: str) -> dict[str, str] | None:
    """The parameters of a Content-Disposition, read as strictly as multer does; None where it gives up (and drops the part)."""
    kind, _, _ = value.partition(";")
    names: dict[str, str] = {}
    at = len(kind)
    while at < len(value):
        match = PARAMETER.match(value, at)
        if match is None:
            return None
        names[match[1].lower()] = ESCAPED.sub(r"\1", match[2]) if match[2] is not None else match[3]
        at = match.end()
    return names if kind.strip().lower() == "form-data" else None


class Form:
    """A multipart body as a stream: iterating gives each part's headers, and its content in blocks."""

    def __init__(self, blocks: Iterator[bytes], boundary: bytes) -> None:
        self._blocks = blocks
        self._delimiter = b"\r\n--" + boundary
        # The first boundary has no line before it; with one, all are alike.
        self._buffer, self._at = b"\r\n", 0

    def __iter__(self) -> Iterator[tuple[dict[str, str], Iterator[bytes]]]:
        self._read(self._delimiter)
        while self._read_two() != b"--":
            headers = _headers(self._read(b"\r\n\r\n"))
            content = self._until(self._delimiter)
            yield headers, content
            for _ in content:
                pass

    def _read(self, delimiter: bytes) -> bytes:
        return b"".join(self._until(delimiter))

    def _until(self, delimiter: bytes) -> Iterator[bytes]:
        """What comes before ``delimiter``, which is passed over. Its beginning may be at the end of one block, so that stays."""
        while (found := self._buffer.find(delimiter, self._at)) < 0:
            whole = max(self._at, len(self._buffer) - len(delimiter) + 1)
            yield self._buffer[self._at : whole]
            self._fill(whole)
        start, self._at = self._at, found + len(delimiter)
        yield self._buffer[start:found]

    def _read_two(self) -> bytes:
        while len(self._buffer) < self._at + 2:
            self._fill(self._at)
        self._at += 2
        return self._buffer[self._at - 2 : self._at]

    def _fill(self, keep_from: int) -> None:
        block = next(self._blocks, b"")
        if not block:
            raise FormEnded
        self._buffer, self._at = self._buffer[keep_from:] + block, 0


def _headers(head: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in head.decode(errors="replace").split("\r\n"))
    return {name.strip(): value.strip() for name, _, value in lines}
