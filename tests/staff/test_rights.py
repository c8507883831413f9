"""Who may do what: everyone tries every action on each surface that has it (the desk, the admin, the API).

All users in these tests may use the admin, so only their role decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.lifecycle import pausing
from builds.models import Event, Mode, QueueChange, SavedView, Submission
from builds.staff.roles import ADMINS, EDITORS, ROLES, VIEWERS
from tests.api.conftest import SECRET, SUBMISSIONS
from tests.support import made, written

pytestmark = [pytest.mark.slow, pytest.mark.any_database]

TITLE = "On builds 1"
TOMORROW = (timezone.now() + timedelta(days=1)).date().isoformat()
SIGNED_OUT, NO_ROLE, THE_SECRET = "signed out", "no role", "the secret"
EVERYONE = (SIGNED_OUT, NO_ROLE, *ROLES, THE_SECRET)

# The lowest role that may do each action.
LOWEST = {
    **dict.fromkeys(("see",), VIEWERS),
    **dict.fromkeys(("retry", "cancel", "deliver", "push", "write", "handle"), EDITORS),
    **dict.fromkeys(("next", "pause", "drain", "resume", "settings", "users", "unlock", "letters", "share"), ADMINS),
}


def may(who: str, act: str, surface: str) -> bool:
    """The API needs the secret, and the secret opens only the API."""
    if surface.startswith("API"):
        return who == THE_SECRET
    return who in ROLES and ROLES.index(who) >= ROLES.index(LOWEST[act])


# --- what proves that an action was done


def traces() -> list[Any]:
    """The sizes of the tables that the actions change."""
    return [model._default_manager.count() for model in (Event, QueueChange, User, AccessAttempt, SavedView)]


def done(answer: Any, before: list[Any]) -> bool:
    return traces() != before


def asked(answer: Any, before: list[Any]) -> bool:
    """A page that asks for confirmation, and nothing has changed yet."""
    form = answer.text.partition('<main id="main"')[2] or answer.text.partition('id="content-main"')[2]
    return traces() == before and any(f'name="{field}"' in form for field in ("reason", "confirmed", "password1"))


def shown(text: str) -> Callable[[Any, list[Any]], bool]:
    return lambda answer, before: text in b"".join(answer).decode()


# --- where each action is tried


@dataclass(frozen=True)
class Try:
    act: str
    surface: str
    method: str
    address: str
    proof: Callable[[Any, list[Any]], bool]
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.act}, {self.surface}"


def on_submissions(act: str) -> list[Try]:
    answer = {"reason": "Why.", "mode": "latest"}
    many = {"act": act, "id": "{pk}"}
    tries = [
        Try(act, "desk, asks for one", "get", f"/submissions/{{pk}}/act/{act}/", asked, {}),
        Try(act, "desk, does one", "post", f"/submissions/{{pk}}/act/{act}/", done, answer),
        Try(act, "desk, asks for many", "get", "/submissions/act/", asked, many),
        Try(act, "desk, does many", "post", "/submissions/act/", done, {**many, **answer}),
    ]
    for model in ("submission", "build", *(("statusupdate",) if act == "push" else ())):
        chosen = {"action": act, "_selected_action": f"{{{model}}}"}
        for place, more in (("list", {}), ("page", {"from_page": "yes"})):
            confirmed = {**chosen, **more, **answer, "confirmed": "yes"}
            tries.append(
                Try(act, f"admin, asks on a {model}'s {place}", "post", f"/admin/builds/{model}/", asked, {**chosen, **more})
            )
            tries.append(Try(act, f"admin, does on a {model}'s {place}", "post", f"/admin/builds/{model}/", done, confirmed))
    return tries


RECORD = "/submissions/{pk}/"
LOG = f"{RECORD}attempts/1/log"
API = f"{SUBMISSIONS}/job-1"
VIEW = {"name": "Reefs", "query": "q=reef"}
UNLOCK = {"action": "unlock", "_selected_action": "{lock}"}
TRIES = [
    *(
        Try("see", f"desk, {name}", "get", address, shown(text), {})
        for name, address, text in (
            *(
                ("list", "/submissions/", TITLE),
                ("what is new", "/submissions/live/", '"new"'),
                ("CSV", "/submissions/csv/", TITLE),
            ),
            *(("page", RECORD, TITLE), ("what is new on it", f"{RECORD}live/", '"parts"')),
            *(
                ("log", f"{LOG}/", TITLE),
                ("its lines", f"{LOG}/lines/", '"total"'),
                ("its search", f"{LOG}/search/?q=a", '"total"'),
            ),
            *(("its text", f"{LOG}.txt", "a line of it"), ("export", f"{RECORD}attempts/1/exports/1/", "%PDF-1.7 content")),
            *(("queue", "/queue/", "Workers"), ("overview", "/overview/", "<h1>Overview")),
        )
    ),
    *(
        Try("see", f"admin, {model}", "get", f"/admin/builds/{model}/{page}", shown('id="content-main"'), {})
        for model in ("submission", "build", "statusupdate")
        for page in ("", f"{{{model}}}/change/")
    ),
    Try("see", "API, status", "get", API, shown("job-1"), {}),
    Try("see", "API, log", "get", f"{API}/log", shown("a line of it"), {}),
    *(each for act in ("retry", "cancel", "deliver", "push", "next") for each in on_submissions(act)),
    Try("retry", "API", "post", f"{API}/retry", done, {"mode": "latest"}),
    Try("deliver", "API", "post", f"{API}/retry", done, {"mode": "deliver"}),
    Try("cancel", "API", "post", f"{API}/cancel", done, {}),
    *(Try(act, "desk, asks", "get", f"/queue/{act}/", asked, {}) for act in ("pause", "drain", "resume")),
    *(Try(act, "desk, does", "post", f"/queue/{act}/", done, {"reason": "Why."}) for act in ("pause", "drain", "resume")),
    Try("write", "desk, drafts", "get", "/submissions/{pk}/letter/", shown("Dear Ada Lovelace"), {}),
    Try("write", "desk, keeps", "post", "/submissions/{pk}/letter/", done, {"subject": "x", "text": "x", "keep": "1"}),
    Try("see", "desk, saves a view", "post", "/submissions/views/", done, VIEW),
    Try("share", "desk, saves a view", "post", "/submissions/views/", done, {**VIEW, "shared": "on"}),
    Try("handle", "desk, asks", "get", "/submissions/{pk}/act/aside/", asked, {}),
    *(
        Try("handle", f"desk, {name}", "post", f"/submissions/{{pk}}/act/{name}/", done, {"text": "x", "until": TOMORROW})
        for name in ("note", "take", "wait", "aside", "deal")
    ),
    Try("handle", "desk, does many", "post", "/submissions/act/", done, {"act": "deal", "id": "{pk}"}),
    Try("letters", "admin, list", "get", "/admin/builds/lettertemplate/", shown('id="content-main"'), {}),
    Try("letters", "admin, asks", "get", "/admin/builds/lettertemplate/add/", shown("Dear $authors"), {}),
    Try("settings", "desk", "get", "/settings/", shown("SECRET_KEY"), {}),
    Try("users", "admin, list", "get", "/admin/auth/user/", shown('id="content-main"'), {}),
    Try("users", "admin, asks", "get", "/admin/auth/user/add/", asked, {}),
    Try(
        "users",
        "admin, makes one",
        "post",
        "/admin/auth/user/add/",
        done,
        {"username": "ben", "usable_password": "true", "password1": made.COMMIT, "password2": made.COMMIT},
    ),
    Try("unlock", "admin, list", "get", "/admin/axes/accessattempt/", shown("192.0.2.7"), {}),
    Try("unlock", "admin, asks", "post", "/admin/axes/accessattempt/", asked, UNLOCK),
    Try("unlock", "admin, does", "post", "/admin/axes/accessattempt/", done, {**UNLOCK, "confirmed": "yes"}),
]


@pytest.fixture(autouse=True)
def _data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


def client_of(who: str) -> Client:
    client = Client(headers={"X-Internal-Secret": SECRET} if who == THE_SECRET else None)
    if who in (NO_ROLE, *ROLES):
        user = User.objects.create_user(who, is_staff=True)
        user.groups.set(Group.objects.filter(name=who))
        client.force_login(user)
    return client


def prepared(act: str) -> dict[str, str]:
    """A submission on which ``act`` is possible, and the keys of its rows."""
    build = made.running()
    written.write(build, "a line of it")
    if act != "cancel":
        made.delivered(build)
    made.refused(build)
    if act == "next":
        lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    if act == "resume":
        pausing.pause(actor="ada", reason="Why.")
    lock = AccessAttempt.objects.create(username="ann", ip_address="192.0.2.7", failures_since_start=5)
    keys = {"submission": build.submission_id, "build": build.pk, "statusupdate": build.status_updates.latest("id").pk}
    return {name: str(key) for name, key in {**keys, "pk": build.submission_id, "lock": lock.pk}.items()}


@pytest.mark.django_db
@pytest.mark.parametrize("who", EVERYONE)
@pytest.mark.parametrize("tried", TRIES, ids=str)
def test_each_role_may_do_its_own_and_nothing_else(tried: Try, who: str) -> None:
    keys = prepared(tried.act)
    client, before = client_of(who), traces()
    fields = {name: value.format(**keys) for name, value in tried.fields.items()}
    more = {"content_type": "application/json"} if tried.surface.startswith("API") and tried.method == "post" else {}
    answer = getattr(client, tried.method)(tried.address.format(**keys), fields or None, **more)
    allowed = may(who, tried.act, tried.surface)
    assert tried.proof(answer, before) == allowed
    if not allowed:
        assert traces() == before
        assert TITLE not in b"".join(answer).decode() or may(who, "see", tried.surface)


def test_every_action_is_in_the_table() -> None:
    assert {tried.act for tried in TRIES} == set(LOWEST)
    assert {codename.removesuffix("_submission") for codename, _ in Submission._meta.permissions} <= set(LOWEST)
