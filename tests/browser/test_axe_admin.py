"""No page of the admin has a serious accessibility problem. The pages come from its registry, so future pages are checked too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PASSWORD, Open, serious, submit
from tests.browser.test_axe import SIZES, looked_at
from tests.e2e.conftest import Service, in_django

# At least one row of each registered model of which a build leaves none.
ROWS = """
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from builds.lifecycle import pausing
from builds.models import LetterTemplate, Notification
User.objects.create_superuser("root", password={password!r})
pausing.pause(actor="ada", reason="To look.")
pausing.resume(actor="ada")
Notification.objects.create(channel="webhook", kind="stuck", subject="Work is stuck", text="Look at it.")
LetterTemplate.objects.create(kind="failed", subject="Your manuscript", text="Dear $authors")
AccessAttempt.objects.create(username="ann", ip_address="192.0.2.7", user_agent="a browser", failures_since_start=5)
"""
# What a superuser reaches: of each model its list, each page of its newest row, and its actions.
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
pages, actions, empty = [*plain, f"/admin/auth/user/{root.pk}/password/"], [], []
pages += sorted({reverse("admin:app_list", args=[model._meta.app_label]) for model in admin.site._registry})
for model, model_admin in admin.site._registry.items():
    base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    if not model._meta.managed:
        pages.append(reverse(f"{base}_changelist"))
        continue
    row = model_admin.get_queryset(request).order_by("-pk").first()
    if row is None:
        empty.append(base)
        continue
    candidates = [reverse(f"{base}_changelist"), reverse(f"{base}_add")]
    candidates += [reverse(f"{base}_{page}", args=[row.pk]) for page in ("change", "history", "delete")]
    pages += [address for address in candidates if client.get(address).status_code == 200]
    actions += [(candidates[0], name) for name in model_admin.get_actions(request)]
print(json.dumps({"pages": pages, "actions": actions, "empty": empty}))
"""


@pytest.fixture(scope="module")
def reached(desk: Service) -> Iterator[dict[str, Any]]:
    submit(desk, "admin-failed", "echo 'paper.md:3 It broke' >&2\nexit 3", title="One that failed")
    submit(desk, "admin-succeeded", title="One that succeeded")
    desk.wait("admin-failed", "failed")
    desk.wait("admin-succeeded", "succeeded")
    in_django(desk, ROWS.format(password=PASSWORD))
    yield json.loads(in_django(desk, PAGES))


def test_every_model_of_the_admin_has_a_row(reached: dict[str, Any]) -> None:
    """If this fails, ROWS lacks a row of a registered model."""
    assert reached["empty"] == []


@pytest.mark.parametrize(("theme", "size"), [("light", "phone"), ("dark", "laptop")])
def test_no_page_of_the_admin_has_a_serious_accessibility_problem(
    reached: dict[str, Any], open_as: Open, theme: str, size: str
) -> None:
    page = open_as("root", color_scheme=theme, viewport=SIZES[size])
    found = {address: problems for address in reached["pages"] if (problems := looked_at(page, address))}
    found |= {
        f"{action} in {address}": problems
        for address, action in reached["actions"]
        if (problems := problems_of_confirmation(page, address, action))
    }
    assert found == {}


def problems_of_confirmation(page: Page, address: str, action: str) -> list[str]:
    """What axe finds on the page that confirms ``action`` on the newest row."""
    page.goto(address)
    page.locator("input.action-select").first.check()
    page.locator("select[name=action]").select_option(action)
    page.locator("button[name=index]").click()
    page.get_by_role("link", name="Go back").or_(page.get_by_role("link", name="No, take me back")).wait_for()
    return serious(page)
