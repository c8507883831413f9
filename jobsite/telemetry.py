"""Errors for Sentry and traces for OpenTelemetry. Both are off unless a setting names where they go, and need packages of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

from builds.lib import log_context, tracing
from jobsite.log_lines import clean

# What an error report says about a build. The other fields of a log line stay here: they may quote an author.
REPORTED = {
    "event",
    "jobId",
    "uuid",
    "build",
    "attempt",
    "stage",
    "worker",
    "role",
    "program",
    "pid",
    "statusUpdate",
    "status_code",
}
FLUSH_SECONDS = 5.0

_flush: list[Callable[[], object]] = []


def start() -> None:
    """Start what the settings ask for. Called once in each process, before it forks."""
    if settings.SENTRY_DSN:
        _start_sentry()
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        _start_traces()


def flush() -> None:
    """Send what waits. A work-horse calls this, because it ends without the interpreter's own end."""
    for send in _flush:
        send()


def _start_sentry() -> None:
    """Every ERROR of the log becomes a report. No request, local variable or earlier log line is sent with it."""
    import sentry_sdk  # noqa: PLC0415 - optional
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415 - the same
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415 - the same
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415 - the same

    errors = LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None)
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.SENTRY_ENVIRONMENT,
        send_default_pii=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[errors, DedupeIntegration(), AtexitIntegration(callback=lambda pending, timeout: None)],
        before_send=_masked,
    )
    _flush.append(lambda: sentry_sdk.flush(FLUSH_SECONDS))


def _masked(event: Any, hint: Any) -> Any:
    extra = {**log_context.fields(), **event.get("extra", {})}
    event["extra"] = {name: value for name, value in extra.items() if name in REPORTED}
    return clean(event)


def _start_traces() -> None:
    """The SDK reads the other OTEL_… variables itself."""
    from opentelemetry import trace  # noqa: PLC0415 - optional
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - the same
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - the same

    default = Resource({"service.name": "jobsite", "host.name": str(log_context.fields().get("host", ""))})
    provider = TracerProvider(resource=default.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    tracing.use(trace.get_tracer("jobsite"))
    _flush.append(lambda: provider.force_flush(int(FLUSH_SECONDS * 1000)))


class TraceMiddleware:
    """A span for each request, named by its route: addresses with job ids would make a name for each submission."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not tracing.is_on():
            raise MiddlewareNotUsed
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        method = request.method or ""
        with tracing.span(method, **{"http.request.method": method}) as span:
            response = self._get_response(request)
            if match := request.resolver_match:
                span.update_name(f"{method} /{match.route}")
                span.set_attribute("http.route", f"/{match.route}")
            span.set_attribute("http.response.status_code", response.status_code)
        return response
