"""A stand-in for desci-server: receives status updates and files, and answers both as desci-server does."""

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
    r"(?:github-myst-import/(?P<updated>[^/]+)/updateStatus|finalize-myst-import/(?P<sent>[^/]+)/receiveFiles)"
)
OK = Answer.json(200, {"ok": True})
LOGIN_PAGE = "<!doctype html><title>Sign in</title><form><input name=password></form>"
UNAUTHORIZED = Answer.json(401, {"ok": False, "message": "Unauthorized"})
NODE_NOT_FOUND = Answer.json(401, {"ok": False, "message": "User or node not found"})
JOB_NOT_FOUND = Answer.json(404, {"ok": False, "message": "Job not found"})
NO_FILES = Answer.json(400, {"ok": False, "message": "No files received"})
JOB_FAILED = Answer.json(400, {"ok": False, "message": "Job failed"})
BROKEN = Answer.json(500, {"ok": False, "message": "Internal Server Error"})
NO_LENGTH = Answer.json(411, {"ok": False, "message": "Content-Length required"})
FORM_ENDED = Answer.json(500, {"ok": False, "message": "Unexpected end of form"})

# A parameter of Content-Disposition: in quotes, with a backslash before an inner quote, or a bare word.
PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*')
ESCAPED = re.compile(r'\\(["\\])')


@dataclass(frozen=True)
class Update:
    """A status update as it was received. ``code`` is the answer's code, 0 if there was none."""

    node_uuid: str
    status: str
    message: str
    code: int
    at: float
    accepted: bool = False


@dataclass(frozen=True)
class Part:
    """A received file: ``filename`` as sent, ``path`` where its content is stored ("" if it is not)."""

    field: str
    filename: str
    content_type: str
    headers: dict[str, str]
    sha256: str
    size: int
    path: str


@dataclass
class Delivery:
    """Files that were received and answered with 200. ``lost``: the dispositions of parts that the receiver could not read."""

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
    """Without ``accept_any``, only jobs named with :meth:`expect` are known. Without ``keep_files``, files are only hashed."""

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
        """Answer with ``status``, until :meth:`end_faults` or within the given limits.

        ``where`` is ``updateStatus``, ``receiveFiles``, or empty for both.
        """
        if isinstance(body, str):
            answer = Answer.text(status, body, HTML)
        else:
            answer = Answer.json(status, body or {"ok": False, "message": "Internal Server Error"})
        self.add_fault(Fault("answer", where, answer, times, time.monotonic() + for_seconds))

    def hang(self, where: str = "receiveFiles", times: float = 1) -> None:
        """Read the next calls completely, and never answer them."""
        self.add_fault(Fault("hang", where, times=times))

    def reset(self, where: str = "receiveFiles", times: float = 1) -> None:
        """Cut the connections of the next calls in the middle."""
        self.add_fault(Fault("reset", where, times=times))

    def drip(
        self,
        where: str = "updateStatus",
        *,
        times: float = math.inf,
        headers: bool = False,
        every: float = 2.0,
        for_seconds: float = math.inf,
    ) -> None:
        """Answer the next calls with a byte every ``every`` seconds, without an end: an OK and spaces or, with ``headers``, a header."""
        until = time.monotonic() + for_seconds
        self.add_fault(Fault("drip-headers" if headers else "drip-body", where, OK, times, until, every))

    def lie(self, where: str = "", *, times: float = math.inf, html: bool = True, for_seconds: float = math.inf) -> None:
        """Answer 200 without doing anything: with a page to sign in or, without ``html``, with ``{"ok": false}``."""
        self.fail(200, for_seconds=for_seconds, times=times, where=where, body=LOGIN_PAGE if html else {"ok": False})

    def flood(self, where: str = "", *, times: float = 1) -> None:
        """Answer the next calls with a body without an end."""
        self.add_fault(Fault("huge", where, OK, times))

    def garble(self, data: bytes, where: str = "", *, times: float = 1) -> None:
        """Send ``data`` instead of an HTTP answer."""
        self.add_fault(Fault("raw", where, Answer(0, data), times))

    def slow(self, seconds: float, *, for_seconds: float) -> None:
        """Wait for ``seconds`` before each answer."""
        self._slow, self._slow_until = seconds, time.monotonic() + for_seconds

    def expect(self, job_id: str) -> None:
        """Know ``job_id`` (again)."""
        with self.lock:
            self._expected.add(job_id)
            self._forgotten.discard(job_id)

    def forget(self, job_id: str) -> None:
        """Forget ``job_id``: its import was cancelled and its task deleted."""
        with self.lock:
            self._forgotten.add(job_id)

    def forget_node(self, node_uuid: str) -> None:
        with self.lock:
            self._forgotten_nodes.add(node_uuid)

    # What was received

    def statuses(self, job_id: str) -> list[str]:
        """The statuses that were accepted, in order."""
        with self.lock:
            return [update.status for update in self.updates[job_id] if update.accepted]

    def wait_for(self, predicate: Callable[[DesciServer], object], timeout: float = 10.0) -> None:
        """Return once ``predicate`` is true. After ``timeout`` seconds, fail with what was received."""
        until = time.monotonic() + timeout
        while True:
            with self.lock:
                if predicate(self):
                    return
                received = self._summary()
            if time.monotonic() > until:
                raise AssertionError(f"not within {timeout} s; desci-server received:\n{received}")
            time.sleep(0.03)

    def _summary(self) -> str:
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
        elif call["updated"]:
            self._take_update(exchange, unquote(call["node"]), unquote(call["updated"]), fault)
        elif fault:
            exchange.apply(fault, fault.answer)
        else:
            exchange.send(self._receive(exchange, unquote(call["node"]), unquote(call["sent"])))

    def _take_update(self, exchange: Exchange, node_uuid: str, job_id: str, fault: Fault | None) -> None:
        """Handle a status update. It is recorded before it is answered, so that a client with the answer finds the record."""
        update = _json_object(exchange)
        status, message = str(update.get("status", "")), str(update.get("message", ""))
        with self.lock:
            answer = fault.answer if fault else self._refusal(exchange, node_uuid, job_id) or self._set_state(job_id, status)
            code = 0 if fault and fault.action != "answer" else answer.status
            accepted = fault is None and code == 200
            self.updates[job_id].append(Update(node_uuid, status, message, code, time.time(), accepted))
        if fault:
            exchange.apply(fault, answer)
        else:
            exchange.send(answer)

    def _set_state(self, job_id: str, status: str) -> Answer:
        if status not in STATUSES:
            return BROKEN
        self.task_states[job_id] = status
        return OK

    def _refusal(self, exchange: Exchange, node_uuid: str, job_id: str) -> Answer | None:
        """The answer that refuses a call whatever its content, or None."""
        if exchange.headers.get("X-Internal-Secret") != self.secret:
            return UNAUTHORIZED
        if node_uuid in self._forgotten_nodes:
            return NODE_NOT_FOUND
        if job_id in self._forgotten or not (self.accept_any or job_id in self._expected):
            return JOB_NOT_FOUND
        return None

    def _receive(self, exchange: Exchange, node_uuid: str, job_id: str) -> Answer:
        """Receive files. They are read before they are checked, because the task may be deleted while they arrive."""
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
        """The switches and records over HTTP, for use when this runs as a separate process."""
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
    """``record`` as values that JSON can represent."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(record).items()}


def _json_object(exchange: Exchange) -> dict[str, Any]:
    """The JSON object in the request's body; an empty one if there is none."""
    try:
        value = json.loads(b"".join(exchange.body) or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_form(exchange: Exchange, delivery: Delivery) -> None:
    """Read the multipart body into ``delivery``, with at most a few blocks of it in memory."""
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
    """Hash the file, and store it under a number: its own name is not trusted."""
    path = delivery.folder / f"{len(delivery.parts):06}" if delivery.folder else None
    digest, size = hashlib.sha256(), 0
    with Path(path or os.devnull).open("wb") as kept:
        for block in content:
            digest.update(block)
            size += kept.write(block)
    content_type = next((value for key, value in headers.items() if key.lower() == "content-type"), "")
    return Part(name, filename, content_type, headers, digest.hexdigest(), size, str(path or ""))


def _disposition(value: str) -> dict[str, str] | None:
    """The parameters of a Content-Disposition, read as strictly as multer does. None if multer would drop the part."""
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
    """A multipart body as a stream: iterating yields each part's headers, and its content in blocks."""

    def __init__(self, blocks: Iterator[bytes], boundary: bytes) -> None:
        self._blocks = blocks
        self._delimiter = b"\r\n--" + boundary
        # The first boundary has no line break before it. Adding one makes all boundaries alike.
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
        """Yield everything before ``delimiter``, and skip it. The end of a block is kept, as it may be the delimiter's beginning."""
        while (found := self._buffer.find(delimiter, self._at)) < 0:
            safe = max(self._at, len(self._buffer) - len(delimiter) + 1)
            yield self._buffer[self._at : safe]
            self._fill(safe)
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
