"""What a browser loads for a full list of the admin, compressed as nginx sends it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from tests.support import made

MAX_BYTES = 150_000
LOADED = re.compile(r'(?:href|src)="/static/([^"]+\.(?:css|js|svg))"')


@pytest.fixture
def fifty(db: None) -> None:
    for number in range(50):
        made.failed(str(number))


@pytest.mark.usefixtures("fifty")
@pytest.mark.parametrize("model", ["submission", "build", "statusupdate", "event", "stage"])
def test_a_list_is_light(admin_page: Client, model: str) -> None:
    page = admin_page.get(reverse(f"admin:builds_{model}_changelist"))
    files = [Path(str(finders.find(name))) for name in set(LOADED.findall(page.text))]
    assert len(files) > 10
    weights = {file.name: len(gzip.compress(file.read_bytes())) for file in files}
    assert len(gzip.compress(page.content)) + sum(weights.values()) < MAX_BYTES, weights
    assert "xregexp.min.js" not in weights
