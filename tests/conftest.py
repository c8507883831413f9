"""Fixtures for all tests."""

from tests.queue_store import store, valkey

__all__ = ["store", "valkey"]
