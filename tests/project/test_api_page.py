"""docs/api.md agrees with the code: every endpoint, every sample request, answer and call to desci-server."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builds.api import openapi
from builds.api.serializers import CancelRequest, RetryRequest, SubmissionRequest
from builds.engine.clients.desci import DesciServer as Client
from builds.engine.clients.multipart import FilePart, Multipart
from builds.models import StatusUpdate
from tests.standins import DesciServer

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
SUBMISSIONS = "/v1/services/process-journal-submission"
FORMS = {
    SUBMISSIONS: SubmissionRequest,
    f"{SUBMISSIONS}/{{job_id}}/cancel": CancelRequest,
    f"{SUBMISSIONS}/{{job_id}}/retry": RetryRequest,
}
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": float, "boolean": bool}


def schema() -> Any:
    return openapi.document()


def sections() -> dict[tuple[str, str], str]:
    """The text about each endpoint, by method and path."""
    pieces = re.split(r"^### `([A-Z]+) (\S+)`\n", PAGE.partition("## Calls to desci-server")[0], flags=re.MULTILINE)
    return {(method, path): text for method, path, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True)}


def samples() -> Iterator[tuple[str, str, str, Any]]:
    """Method, path, status and body of each answer."""
    for (method, path), text in sections().items():
        for status, body in re.findall(r"^\*\*(\d+)\*\*[^\n]*:\n\n```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield method, path, status, json.loads(body)


def resolved(part: Any, whole: Any) -> Any:
    """``part`` of the schema ``whole`` without references."""
    if "$ref" in part:
        return resolved(whole["components"]["schemas"][part["$ref"].rpartition("/")[2]], whole)
    if "allOf" in part:
        return {**resolved(part["allOf"][0], whole), **{name: value for name, value in part.items() if name != "allOf"}}
    return part


def differences(value: Any, part: Any, whole: Any, place: str = "answer") -> Iterator[str]:
    """Where ``value`` differs from the schema ``part``: names that are missing or unknown, wrong types, unknown values."""
    part = resolved(part, whole)
    if value is None:
        if not part.get("nullable"):
            yield f"{place} is null"
        return
    if not isinstance(value, TYPES[part["type"]]) or (part["type"] == "integer" and isinstance(value, bool)):
        yield f"{place} is not of type {part['type']}"
    elif "enum" in part and value not in part["enum"]:
        yield f"{place} is {value!r}"
    elif isinstance(value, list):
        for item in value:
            yield from differences(item, part["items"], whole, f"{place}[]")
    elif isinstance(value, dict) and "properties" in part:
        yield from (f"{place}.{name} is missing" for name in set(part.get("required", ())) - set(value))
        for name, inner in value.items():
            if name in part["properties"]:
                yield from differences(inner, part["properties"][name], whole, f"{place}.{name}")
            else:
                yield f"{place}.{name} is unknown"


def test_every_endpoint_is_on_the_page() -> None:
    endpoints = {(method.upper(), path) for path, operations in schema()["paths"].items() for method in operations}
    assert sections().keys() == endpoints


def test_every_endpoint_has_a_request_and_an_answer() -> None:
    for endpoint, text in sections().items():
        assert "\n```sh\ncurl " in text, endpoint
        assert re.search(r"^\*\*20[02]\*\*", text, re.MULTILINE), endpoint


@pytest.mark.parametrize(("method", "path", "status", "body"), list(samples()))
def test_a_sample_answer_has_the_fields_of_the_schema(method: str, path: str, status: str, body: Any) -> None:
    whole = schema()
    answer = whole["paths"][path][method.lower()]["responses"][status]["content"]["application/json"]["schema"]
    assert list(differences(body, answer, whole)) == []


def test_a_wrong_sample_is_noticed() -> None:
    whole = schema()
    ready = whole["paths"]["/readyz"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    wrong = {"state": "ok", "isolation": [{"sandbox": "box", "cgroups": None, "workers": "2"}], "notices": []}
    assert sorted(differences(wrong, ready, whole)) == [
        "answer.isolation[].cgroups is null",
        "answer.isolation[].sandbox is 'box'",
        "answer.isolation[].workers is not of type integer",
        "answer.state is unknown",
        "answer.status is missing",
    ]


@pytest.mark.parametrize("path", list(FORMS))
def test_a_sample_request_is_accepted(path: str) -> None:
    command = re.search(r"^```sh\n(curl .*?)^```", sections()["POST", path], re.MULTILINE | re.DOTALL)
    assert command
    words = shlex.split(command[1])
    assert FORMS[path](data=json.loads(words[words.index("-d") + 1])).is_valid()


def test_every_error_of_the_schema_is_explained() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE.partition("### Errors")[2].partition("###")[0], re.MULTILINE)
    explained = {status for row in rows for status in row.split(", ")}
    answered = {
        status
        for operations in schema()["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert {status for status in answered if status >= "400"} <= explained


def outgoing() -> str:
    return PAGE.partition("## Calls to desci-server")[2]


def test_the_calls_to_desci_server_are_the_ones_that_the_client_makes() -> None:
    paths = re.findall(r"^`POST \{DESCI_SERVER_URL\}(\S+)`", outgoing(), re.MULTILINE)
    with DesciServer() as server:
        client = Client(server.url, server.secret)
        client.update_status("node", "job", "IN_PROGRESS", "")
        client.receive_files("node", "job", Multipart([], {}))
        assert [path.format(uuid="node", jobId="job") for path in paths] == [request.path for request in server.requests]


def test_the_sample_status_updates_are_ones_that_desci_server_knows() -> None:
    updates = [json.loads(body) for body in re.findall(r"^```json\n(.*?)^```", outgoing(), re.MULTILINE | re.DOTALL)]
    assert [list(update) for update in updates] == [["status", "message"]] * 3
    assert {update["status"] for update in updates} == set(StatusUpdate.Status.values)


def test_the_sample_delivery_is_what_the_client_sends() -> None:
    sample = re.search(r"^```http\n(.*?)^```", outgoing(), re.MULTILINE | re.DOTALL)
    assert sample
    content = "…".encode()
    names = ("sample.pdf", "/exports/sample.meca/manifest.xml", "index.json")
    files = [FilePart(name, len(content), lambda: io.BytesIO(content)) for name in names]
    body = Multipart(files, {"uuid": "sample-node.", "contextPath": "root"})
    sent = f"Content-Type: {body.content_type}\n\n" + b"".join(iter(body.read, b"")).decode().replace("\r\n", "\n")
    assert re.sub(r"jobsite-[0-9a-f]+", "BOUNDARY", sent) == sample[1]
