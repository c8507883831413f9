"""The page that describes the API shows everything in the schema, and no secret."""

from __future__ import annotations

import html
import json
import re
import shlex
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from builds.api import description, openapi
from builds.api.description import Endpoint
from builds.api.serializers import CancelRequest, RetryRequest, SubmissionRequest

SUBMISSIONS = "/v1/services/process-journal-submission"


@pytest.fixture
def page(client: Client, db: None) -> str:
    client.force_login(User.objects.create_user("somebody"))
    return client.get("/v1/docs").text


def schema() -> Any:
    return openapi.document()


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
    assert fields["mode"].constraints == ["one of latest, same-commit, clean, deliver", "default latest"]
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
def test_an_example_is_a_command_that_the_api_accepts(name: str, form: Any) -> None:
    words = shlex.split(described()[name].example.replace("\\\n", ""))
    assert words[0] == "curl" and words[words.index("-X") + 1] == "POST"
    assert words[4].startswith(f"http://jobsite:5454{SUBMISSIONS}")
    assert form(data=json.loads(words[words.index("-d") + 1])).is_valid()


def test_the_page_contains_no_secret_and_examples_send_it_only_where_it_is_needed(page: str) -> None:
    assert "test-secret" not in page
    sends = {name: "$INTERNAL_SERVICE_SECRET" in endpoint.example for name, endpoint in described().items()}
    assert sends == {name: name not in ("ready", "health") for name in sends}


def test_the_page_has_no_inline_script_or_style(page: str) -> None:
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="/static/desk/desk.js">']
    assert "<style" not in page and " style=" not in page


def test_each_success_has_a_sample_with_every_field(page: str) -> None:
    for endpoint in described().values():
        for answer in endpoint.successes:
            if answer.media == "application/json":
                sample = json.loads(answer.sample)
                assert [field.name for field in answer.fields if not _has(sample, field.name.split("."))] == []
                assert html.escape(answer.sample) in page
    assert "/github-myst-import/myst-import-1/updateStatus" in page


def _has(sample: Any, names: list[str]) -> bool:
    for name in names:
        sample = sample[name.removesuffix("[]")]
        if name.endswith("[]") and name != names[-1]:
            [sample] = sample
    return True


def test_the_page_needs_no_account_only_where_a_setting_says_so(client: Client, db: None, settings: Any) -> None:
    assert client.get("/v1/docs").status_code == 302
    settings.API_DOCS_PUBLIC = True
    answer = client.get("/v1/docs")
    assert answer.status_code == 200
    assert "Sign out" not in answer.text
