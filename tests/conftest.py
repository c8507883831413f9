"""What all tests share: the data folder of their process, and a queue store."""

from __future__ import annotations

import shutil

import pytest
from django.conf import settings

from tests.queue_store import store, valkey

__all__ = ["store", "valkey"]


def pytest_configure(config: pytest.Config) -> None:
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(settings.DATA_DIR, ignore_errors=True)
