"""Spans of a trace. They cost nothing unless an installation sends traces (OTEL_EXPORTER_OTLP_ENDPOINT)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_tracer: Any = None


def use(tracer: Any) -> None:
    """Let spans go to this OpenTelemetry tracer."""
    global _tracer
    _tracer = tracer


def is_on() -> bool:
    return _tracer is not None


@contextmanager
def span(name: str, **attributes: str | int) -> Iterator[Any]:
    """A span around the block; yields it, or None if traces are off.

    An exception marks it as failed. Its text is not sent, because it may quote an author or a secret.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - optional

    with _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise
