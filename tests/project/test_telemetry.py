"""Reports to Sentry and traces to OpenTelemetry, as a stand-in on loopback gets them from a process of the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.standins.collector import Collector

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-that-nobody-may-see"
AUTHOR = "the author's own words"
BEFORE = (
    "import logging\nimport django\ndjango.setup()\nfrom jobsite import telemetry\nfrom builds.lib import log_context, tracing\n"
)
FAILS = f"""
words = "{AUTHOR}"
log_context.bind(jobId="job-1", role="work-horse", title=words)
logging.getLogger("builds").warning("%s", words)
try:
    int("{SECRET}")
except ValueError:
    logging.getLogger("builds").exception("a bug", extra={{"stage": "fetch", "reason": words}})
telemetry.flush()
"""
TRACED = f"""
from contextlib import suppress
from django.test import Client
Client().get("/readyz?token={SECRET}")
Client().get("/v1/services/process-journal-submission/some-job")
with suppress(ValueError), tracing.span("build", jobId="job-1", attempt=1):
    with tracing.span("stage fetch"):
        raise ValueError("{AUTHOR}")
telemetry.flush()
"""


def run(folder: Path, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 30, "GITHUB_TOKEN": SECRET, "DATA_DIR": str(folder)}
    environment |= {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "INTERNAL_SERVICE_SECRET": "s" * 30, **settings}
    return subprocess.run(
        [sys.executable, "-c", BEFORE + script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_an_error_is_reported_masked_and_without_the_texts_around_it(tmp_path: Path) -> None:
    with Collector() as sentry:
        done = run(tmp_path, FAILS, SENTRY_DSN=f"http://publickey@127.0.0.1:{sentry.port}/7")
        assert done.returncode == 0, done.stderr
    [(path, body)] = sentry.received
    assert path == "/api/7/envelope/"
    event = json.loads(body.splitlines()[2])
    assert event["logentry"]["formatted"] == "a bug"
    assert event["extra"] == {"jobId": "job-1", "role": "work-horse", "stage": "fetch"}
    assert event["exception"]["values"][0]["value"] == "invalid literal for int() with base 10: '***'"
    assert SECRET.encode() not in body
    assert not {"request", "user"} & event.keys()
    assert not event.get("breadcrumbs", {}).get("values")
    assert all("vars" not in frame for frame in event["exception"]["values"][0]["stacktrace"]["frames"])
    assert AUTHOR not in json.dumps([event["extra"], event["logentry"]])


@pytest.mark.slow
def test_requests_and_stages_are_traced_without_addresses_or_texts(tmp_path: Path) -> None:
    with Collector() as collector:
        done = run(tmp_path, TRACED, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="desk")
        assert done.returncode == 0, done.stderr
    assert {path for path, _ in collector.received} == {"/v1/traces"}
    whole = b"".join(body for _, body in collector.received)
    groups = [group for _, body in collector.received for group in ExportTraceServiceRequest.FromString(body).resource_spans]
    names = {item.key: item.value.string_value for item in groups[0].resource.attributes}
    spans = {span.name: span for group in groups for scope in group.scope_spans for span in scope.spans}
    assert names["service.name"] == "desk"
    assert spans.keys() == {"GET /readyz", "GET /v1/services/process-journal-submission/<str:job_id>", "build", "stage fetch"}
    assert spans["stage fetch"].parent_span_id == spans["build"].span_id
    assert spans["stage fetch"].status.code == 2
    assert not any(text.encode() in whole for text in (SECRET, AUTHOR, "some-job"))


@pytest.mark.slow
def test_nothing_is_sent_or_imported_unless_it_is_set(tmp_path: Path) -> None:
    script = "import sys\nprint({'sentry_sdk', 'opentelemetry.exporter'} & set(sys.modules), tracing.is_on())\n"
    assert run(tmp_path, script).stdout == "set() False\n"


@pytest.mark.parametrize(
    ("package", "name", "line"),
    [
        ("sentry_sdk", "SENTRY_DSN", "SENTRY_DSN needs the Sentry SDK: pip install -r requirements-sentry.txt"),
        (
            "opentelemetry",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry: pip install -r requirements-otel.txt",
        ),
    ],
)
def test_a_missing_package_is_one_line(tmp_path: Path, package: str, name: str, line: str) -> None:
    """A finder before all others hides the package, as if it were not installed."""
    hidden = f"""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "{package}" else found(name, package)
"""
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "x" * 30, "DATA_DIR": str(tmp_path), name: "http://k@127.0.0.1:1/1"}
    command = [sys.executable, "-c", f"{hidden}\nimport jobsite.settings"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"jobsite: {line}\n")
