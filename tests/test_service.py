"""What ``serve`` says at its start of an installation that is not as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from builds.service import unknown_clients


@pytest.mark.parametrize(("https", "proxies", "sentences"), [(True, 0, 1), (True, 1, 0), (False, 0, 0)])
def test_a_proxy_that_is_not_told_of_is_an_alarm(settings: Any, https: bool, proxies: int, sentences: int) -> None:
    settings.HTTPS, settings.PROXIES = https, proxies
    said = unknown_clients()
    assert len(said) == sentences
    assert all("Set PROXIES" in sentence for sentence in said)
