"""Requests generated from the API's description: answers must match it, without any submission and with one in each state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from builds import lifecycle
from builds.models import Build, Mode, State, Submission
from tests.api.conftest import SECRET
from tests.support import made, written

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OPERATIONS = ("submit", "status", "cancel", "retry", "log", "ready", "health")
# What a request gets past the checks for: otherwise the submissions that are there were not met.
REACHED = {
    "submit": {202},
    "status": {200},
    "cancel": {202, 409},
    "retry": {202, 409},
    "log": {200},
    "ready": {200},
    "health": {200},
}
EXAMPLES = examples(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


KNOWN = [f"job-{name}" for name in ("queued", "running", "cancelling", "failed", "retried", "succeeded", "cancelled")]


def populate() -> None:
    """Make a submission in each state, with logs and exports, by the verbs."""
    made.submitted("queued")
    written.write(made.running("running"), "line\u202e one", "=two", stage="build")
    lifecycle.request_cancel(made.running("cancelling"), actor="ada", reason="Wrong branch.")
    written.failed(name="failed")
    lifecycle.retry(made.failed("retried").submission, Mode.CLEAN, actor="ada", reason="Once more.")
    made.refused(made.succeeded("succeeded"), tries=2)
    lifecycle.request_cancel(made.submitted("cancelled").newest_build(), actor="ada", reason="")


def at_known(case: Any, job_id: str) -> Any:
    """The request, for a submission that exists."""
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = job_id
    elif isinstance(case.body, dict) and isinstance(case.body.get("jobId"), str):
        name = job_id.removeprefix("job-")
        case.body |= {
            "jobId": job_id,
            "uuid": f"node-{name}.",
            "url": f"https://github.com/lab/paper-{name}/blob/main/docs/myst.yml",
        }
    return case


@pytest.fixture
def described(transactional_db: None) -> Iterator[Any]:
    yield schemathesis.openapi.from_wsgi("/v1/schema?format=json", get_wsgi_application())


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_described_and_none_is_a_fault(described: Any, name: str, secret: str) -> None:
    operation = described.find_operation_by_id(name)

    @EXAMPLES
    @given(st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)))
    def hold(case: Any) -> None:
        case.validate_response(case.call(headers={"X-Internal-Secret": secret}), checks=CHECKS)

    hold()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_described_with_a_submission_in_each_state(
    described: Any, name: str, tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path
    populate()
    operation = described.find_operation_by_id(name)
    strategies = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
    answered: set[int] = set()

    @EXAMPLES
    @given(st.builds(at_known, st.one_of(strategies), st.sampled_from(KNOWN)))
    def hold(case: Any) -> None:
        response = case.call(headers={"X-Internal-Secret": SECRET})
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    hold()
    assert answered >= REACHED[name]


def test_the_submissions_cover_every_state(transactional_db: None, tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    populate()
    assert sorted(Submission.objects.values_list("job_id", flat=True)) == sorted(KNOWN)
    assert set(Build.objects.values_list("state", flat=True)) == set(State.values)


def test_every_operation_is_tried(described: Any) -> None:
    named = [result.ok().definition.raw["operationId"] for result in described.get_all_operations()]
    assert sorted(name for name in named if not name.startswith("schema")) == sorted(OPERATIONS)
