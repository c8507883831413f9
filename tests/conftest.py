"""What all tests share: the data folder of their process, a queue store, and counts of queries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from builds.lib import release
from tests.cases.score import summary
from tests.support.counted_queries import django_assert_max_num_queries, django_assert_num_queries
from tests.support.hanging import must_end
from tests.support.queue_store import store, valkey

__all__ = ["django_assert_max_num_queries", "django_assert_num_queries", "must_end", "store", "valkey"]

E2E = Path(__file__).parent / "e2e"


def pytest_configure(config: pytest.Config) -> None:
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file that is edited while the tests run is no upgrade.
    release.ROOT = release.PACKAGES = settings.DATA_DIR / "no-release"
    release.AT_START = release.stamp()


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the database, which ``make postgres`` runs a second time, but for those that are about something else. All
    tests of the real service use it, but for those that start a PostgreSQL of their own."""
    for item in items:
        uses = {"db", "transactional_db"} & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("django_db")
        real = item.path.parent == E2E and not item.get_closest_marker("own_database")
        if (uses or real) and not item.get_closest_marker("any_database"):
            item.add_marker("database")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the score of the cases, if they ran. Their results may come from other processes."""
    reports = [report for some in terminalreporter.stats.values() for report in some if isinstance(report, pytest.TestReport)]
    scores: list[Any] = [
        value for report in reports if report.when == "call" for name, value in report.user_properties if name == "case"
    ]
    if scores:
        terminalreporter.write_line(f"cases: {summary(scores)}")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(settings.DATA_DIR, ignore_errors=True)
