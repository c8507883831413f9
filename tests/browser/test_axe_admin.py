"""No page of the admin has a serious barrier. Its pages are asked of its registry, so that one that is added later is looked at too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PASSWORD, Open, serious, submit
from tests.browser.test_axe import SIZES, looked_at
from tests.e2e.conftest import Service, in_django

# One row at least of each model that is registered, where a build leaves none.
ROWS = """
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from builds import queue_control
User.objects.create_superuser("root", password={password!r})
queue_control.pause(actor="ada", reason="To look.")
queue_control.resume(actor="ada")
AccessAttempt.objects.create(username="ann", ip_address="192.0.2.7", user_agent="a browser", failures_since_start=5)
"""
# What a superuser reaches: of each model its list and each page of its newest row, and its acts.
PAGES = """
import json
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import NoReverseMatch, reverse
root = User.objects.get(username="root")
request, client = RequestFactory().get("/"), Client(headers={"host": "127.0.0.1"})
request.user = root
client.force_login(root, backend="django.contrib.auth.backends.ModelBackend")
plain = [reverse(f"admin:{name}") for name in ("index", "password_change", "password_change_done")]
pages, acts, empty = [*plain, f"/admin/auth/user/{root.pk}/password/"], [], []
pages += sorted({reverse("admin:app_list", args=[model._meta.app_label]) for model in admin.site._registry})
for model, model_admin in admin.site._registry.items():
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    row = model_admin.get_queryset(request).order_by("-pk").first()
    if row is None:
        empty.append(base)
        continue
    candidates = [reverse(f"{base}_changelist"), reverse(f"{base}_add")]
    candidates += [reverse(f"{base}_{page}", args=[row.pk]) for page in ("change", "history", "delete")]
    pages += [address for address in candidates if client.get(address).status_code == 200]
    acts += [(candidates[0], name) for name in model_admin.get_actions(request)]
print(json.dumps({"pages": pages, "acts": acts, "empty": empty}))
"""


@pytest.fixture(scope="module")
def reached(desk: Service) -> Iterator[dict[str, Any]]:
    submit(desk, "admin-failed", "echo 'paper.md:3 It broke' >&2\nexit 3", title="One that failed")
    submit(desk, "admin-succeeded", title="One that succeeded")
    desk.wait("admin-failed", "failed", timeout=60)
    desk.wait("admin-succeeded", "succeeded", timeout=60)
    in_django(desk, ROWS.format(password=PASSWORD))
    yield json.loads(in_django(desk, PAGES))


def test_every_model_of_the_admin_is_looked_at(reached: dict[str, Any]) -> None:
    """Where this fails, ROWS lacks a row of a model that was registered."""
    assert reached["empty"] == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_of_the_admin_has_a_serious_barrier(reached: dict[str, Any], open_as: Open, theme: str, size: str) -> None:
    page = open_as("root", color_scheme=theme, viewport=SIZES[size])
    found = {address: problems for address in reached["pages"] if (problems := looked_at(page, address))}
    found |= {f"{act} in {address}": problems for address, act in reached["acts"] if (problems := asked(page, address, act))}
    assert found == {}


def asked(page: Page, address: str, act: str) -> list[str]:
    """What axe finds on the page that asks before ``act`` is done on the newest row."""
    page.goto(address)
    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").select_option(act)
    page.locator("button[name=index]").click()
    page.get_by_role("link", name="Leave as it is").or_(page.get_by_role("link", name="No, take me back")).wait_for()
    return serious(page)
