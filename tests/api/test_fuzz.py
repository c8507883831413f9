"""What the description promises, held against requests that are made up from it."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.conftest import SECRET

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def described(transactional_db: None) -> Any:
    return schemathesis.openapi.from_wsgi("/v1/schema?format=json", get_wsgi_application())


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_request_is_answered_by_a_fault_or_by_what_is_not_described(case: Case) -> None:
    response = case.call(headers={"X-Internal-Secret": SECRET})
    case.validate_response(response, checks=CHECKS)
