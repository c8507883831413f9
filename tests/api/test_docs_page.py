"""The page that describes the API says all that its schema says, and no secret."""

from __future__ import annotations

import html
import json
import re
import shlex
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from builds.api import description
from builds.api.description import Endpoint
from builds.api.serializers import CancelRequest, RetryRequest, SubmissionRequest

SUBMISSIONS = "/v1/services/process-journal-submission"


@pytest.fixture
def page(client: Client, db: None) -> str:
    client.force_login(User.objects.create_user("somebody"))
    return client.get("/v1/docs").text


def schema() -> Any:
    generator: Any = SchemaGenerator
    return generator().get_schema(request=None, public=True)


def described() -> dict[str, Endpoint]:
    return {endpoint.name: endpoint for endpoint in description.endpoints(schema(), address="http://jobsite:5454")}


def test_every_endpoint_status_and_field_of_the_schema_is_shown(page: str) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for path, operations in schema()["paths"].items():
        assert path in text
        for operation in operations.values():
            section = text_of_section(page, operation["operationId"])
            assert [status for status in operation["responses"] if f" {status} " not in section] == []
    for component in schema()["components"]["schemas"].values():
        assert [name for name in component.get("properties", {}) if name not in text] == []


def text_of_section(page: str, name: str) -> str:
    section = page.partition(f'aria-labelledby="{name}"')[2].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", section)).split())


def test_fields_have_types_and_constraints() -> None:
    fields = {field.name: field for field in described()["retry"].body}
    assert fields["mode"].constraints == ["one of latest, same-commit, clean, deliver", "latest if not given"]
    assert (fields["reason"].kind, fields["reason"].required, fields["reason"].constraints) == (
        "text",
        False,
        ["at most 1000 characters"],
    )
    answered = {field.name: field for field in described()["status"].successes[0].fields}
    assert answered["data.attempts"].kind == "list of object"
    assert answered["data.attempts[].cause.line"].constraints[-1] == "may be null"
    assert answered["data.createdAt"].kind == "time (ISO 8601)"


@pytest.mark.parametrize(("name", "form"), [("submit", SubmissionRequest), ("retry", RetryRequest), ("cancel", CancelRequest)])
def test_an_example_is_a_command_that_the_api_takes(name: str, form: Any) -> None:
    words = shlex.split(described()[name].example.replace("\\\n", ""))
    assert words[0] == "curl" and words[words.index("-X") + 1] == "POST"
    assert words[4].startswith(f"http://jobsite:5454{SUBMISSIONS}")
    assert form(data=json.loads(words[words.index("-d") + 1])).is_valid()


def test_no_secret_is_in_the_page_and_what_needs_none_asks_for_none(page: str) -> None:
    assert "test-secret" not in page
    asks = {name: "$INTERNAL_SERVICE_SECRET" in endpoint.example for name, endpoint in described().items()}
    assert asks == {name: name != "ready" for name in asks}


def test_the_page_holds_no_script_of_its_own(page: str) -> None:
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="/static/desk/desk.js">']
    assert "<style" not in page and " style=" not in page
