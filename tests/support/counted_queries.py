"""Counts of queries that do not depend on the moment: on PostgreSQL, the time is asked for every ten seconds, which is one query more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from builds.models import clock

HOUR = 3600.0


@pytest.fixture
def django_assert_num_queries(
    django_assert_num_queries: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """pytest-django's own, for which the time is asked before."""
    return _with_known_time(django_assert_num_queries, monkeypatch)


@pytest.fixture
def django_assert_max_num_queries(
    django_assert_max_num_queries: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """As above."""
    return _with_known_time(django_assert_max_num_queries, monkeypatch)


def _with_known_time(counting: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def count(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(clock, "MEASURE_SECONDS", HOUR)
        clock.now()
        return counting(*arguments, **named)

    return count
