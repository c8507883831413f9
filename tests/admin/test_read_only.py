"""Nothing can be added, changed or deleted, and viewing needs a permission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from builds.models import Artifact, Build, Event, LogBatch, Stage, StatusUpdate, Submission

MODELS: tuple[type[Model], ...] = (Submission, Build, Stage, LogBatch, Artifact, StatusUpdate, Event)


def address(model: type[Model], page: str, *args: object) -> str:
    return reverse(f"admin:builds_{model._meta.model_name}_{page}", args=args)


def addresses(model: type[Model]) -> list[str]:
    pk = model._default_manager.latest("pk").pk
    return [address(model, "changelist"), address(model, "change", pk)]


@pytest.mark.parametrize("model", MODELS)
def test_list_and_page_are_shown(admin_page: Client, build: Build, model: type[Model]) -> None:
    assert [admin_page.get(page).status_code for page in addresses(model)] == [200, 200]


@pytest.mark.parametrize("model", MODELS)
def test_posts_are_refused_to_superusers_too(admin_page: Client, build: Build, model: type[Model]) -> None:
    pk = model._default_manager.latest("pk").pk
    before = list(model._default_manager.order_by("pk").values())
    pages = [address(model, "add"), address(model, "change", pk), address(model, "delete", pk)]
    assert [admin_page.post(page, {"post": "yes"}).status_code for page in pages] == [403, 403, 403]
    admin_page.post(address(model, "changelist"), {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert list(model._default_manager.order_by("pk").values()) == before


@pytest.mark.parametrize("model", MODELS)
def test_pages_offer_no_change(admin_page: Client, build: Build, model: type[Model]) -> None:
    for page in addresses(model):
        text = admin_page.get(page).content.decode().split('id="content-main"')[1]
        assert not any(offer in text for offer in ('name="_save"', "addlink", "deletelink", "delete_selected"))


@pytest.mark.parametrize("model", MODELS)
def test_staff_need_the_view_permission(staff_page: Callable[..., Client], build: Build, model: type[Model]) -> None:
    other = "view_event" if model is not Event else "view_stage"
    nobody, viewer = staff_page(other), staff_page(f"view_{model._meta.model_name}")
    assert [nobody.get(page).status_code for page in addresses(model)] == [403, 403]
    assert [viewer.get(page).status_code for page in addresses(model)] == [200, 200]


def status(client: Client, page: str) -> int:
    """The status of an answer. A stream is read to its end, so that its file is closed."""
    response: Any = client.get(page)
    if response.streaming:
        response.getvalue()
    return int(response.status_code)


def own_pages(build: Build) -> list[str]:
    return [reverse("admin:builds_artifact_download", args=[build.artifacts.get().pk])]


def test_a_download_needs_the_view_permission(staff_page: Callable[..., Client], build: Build) -> None:
    nobody, viewer = staff_page("view_event"), staff_page("view_artifact")
    assert [status(nobody, page) for page in own_pages(build)] == [403]
    assert [status(viewer, page) for page in own_pages(build)] == [200]


def test_every_page_needs_a_sign_in(client: Client, build: Build) -> None:
    pages = [*own_pages(build), *(page for model in MODELS for page in addresses(model))]
    assert {client.get(page).headers["Location"].split("?")[0] for page in pages} == {reverse("desk:sign-in")}


def test_a_signed_in_user_who_may_not_use_the_admin_gets_a_403(client: Client, build: Build) -> None:
    """The sign-in page would redirect them back forever."""
    client.force_login(User.objects.create_user("reader"))
    for page in (*own_pages(build), "/admin/", "/sign-in/?next=/admin/"):
        answer = client.get(page, follow=True)
        assert answer.status_code == 403
        assert "Your account may not use the admin. Ask a Jobsite admin to allow it." in answer.text


def test_inlines_need_the_permission_to_view_their_model(staff_page: Callable[..., Client], build: Build) -> None:
    page = address(Build, "change", build.pk)
    assert "ab" * 32 not in staff_page("view_build").get(page).content.decode()
    assert "ab" * 32 in staff_page("view_build", "view_artifact").get(page).content.decode()


def test_index_names_the_service_and_does_not_list_log_batches(admin_page: Client) -> None:
    text = admin_page.get(reverse("admin:index")).content.decode()
    assert "Jobsite" in text and "The record of all submissions" in text
    assert reverse("admin:builds_build_changelist") in text
    assert reverse("admin:builds_logbatch_changelist") not in text
