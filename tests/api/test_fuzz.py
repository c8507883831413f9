"""What the API's description promises, held against requests that are made up from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import SECRET

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = ("submit", "status", "cancel", "retry", "log", "ready")
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def described(transactional_db: None) -> Iterator[Any]:
    yield schemathesis.openapi.from_wsgi("/v1/schema?format=json", get_wsgi_application())


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_is_answered_by_a_fault_or_by_what_is_not_described(described: Any, name: str, secret: str) -> None:
    operation = described.find_operation_by_id(name)

    @EXAMPLES
    @given(st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)))
    def hold(case: Any) -> None:
        case.validate_response(case.call(headers={"X-Internal-Secret": secret}), checks=CHECKS)

    hold()


def test_every_operation_is_tried(described: Any) -> None:
    named = [result.ok().definition.raw["operationId"] for result in described.get_all_operations()]
    assert sorted(name for name in named if not name.startswith("schema")) == sorted(OPERATIONS)
