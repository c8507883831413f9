"""Addresses and forms with a number that no database can hold."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.support import made

pytestmark = pytest.mark.django_db

HUGE = "9" * 23
ADDRESSES = (
    "/submissions/{huge}/",
    "/submissions/{huge}/live/",
    "/submissions/{huge}/act/retry/",
    "/submissions/{huge}/attempts/1/log/",
    "/submissions/{pk}/attempts/{huge}/log/",
    "/submissions/{pk}/attempts/{huge}/log.txt",
    "/submissions/{pk}/attempts/1/exports/{huge}/",
    "/admin/builds/artifact/{huge}/download/",
    "/admin/auth/user/{huge}/change/",
    "/admin/builds/submission/{huge}/change/",
    "/submissions/?before={huge}&after={huge}&attempt={huge}",
    "/submissions/live/?shown={huge}",
    "/admin/auth/user/?id__in={huge}",
    "/admin/auth/user/?groups__id__exact={huge}",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_fails(admin_client: Client, address: str) -> None:
    address = address.format(huge=HUGE, pk=made.succeeded().submission_id)
    assert admin_client.get(address).status_code in (200, 302, 404, 405)
    assert admin_client.post(address, {"id": HUGE}).status_code in (200, 302, 403, 404, 405)


@pytest.mark.parametrize("model", ["auth/user", "auth/group", "builds/submission", "builds/build", "axes/accessattempt"])
def test_no_action_of_the_admin_fails(admin_client: Client, model: str) -> None:
    for action in ("delete_selected", "retry", "cancel", "unlock"):
        answer = admin_client.post(f"/admin/{model}/", {"action": action, "_selected_action": HUGE})
        assert answer.status_code in (200, 302, 403, 404), action
