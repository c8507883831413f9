"""The dashboard of the queue store, over a poisoned store: admins can read it, nothing can be changed, and nothing runs.

The addresses come from django-rq's own list, so that an address of a later version is tested too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django_rq.urls import get_admin_urlpatterns, get_api_urlpatterns
from redis import Redis

from builds.admin.queue_store import PAGES
from builds.models import Build
from tests.queue.poison import DUMPS, LIST, POISONS, REGISTRIES, cage, put, put_everywhere, with_callbacks
from tests.service.test_worker import environment
from tests.support.rows import submit

__all__ = ["cage"]

pytestmark = pytest.mark.django_db

PARTS = {
    "queue_index": 0,
    "scheduler_index": 0,
    "connection_index": 0,
    "job_id": "with_pickle-pickle",
    "result_id": "1-1",
    "key": "rq:worker:evil",
    "scheduler_name": "evil",
    "cron_job_name": "canary.run",
    "token": "guessed",
}
PATTERNS = [*get_api_urlpatterns("django_rq_"), *get_admin_urlpatterns("django_rq_")]
OWN = {f"django_rq_{name}" for name in PAGES}


NAMES = sorted(f"{poison.__name__}-{kind}" for poison in POISONS for kind in DUMPS)


def parts_of(pattern: Any) -> set[str]:
    return set(pattern.pattern.converters) | set(pattern.pattern.regex.groupindex)


def address(pattern: Any) -> str:
    return reverse(f"admin:{pattern.name}", kwargs={name: PARTS[name] for name in parts_of(pattern)})


ADDRESSES = {address(pattern): str(pattern.name) for pattern in PATTERNS}


@pytest.fixture
def poisoned(store: Redis, cage: Path) -> Redis:
    put_everywhere(store, cage)
    return store


@pytest.fixture
def admin() -> Client:
    return signed_in("admins", is_staff=True)


def signed_in(role: str, *, is_staff: bool) -> Client:
    user = User.objects.create_user(f"{role} {is_staff}", is_staff=is_staff)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def statuses(client: Client, method: str = "get") -> dict[str, int]:
    """How each address answers."""
    return {page: getattr(client, method)(page).status_code for page in ADDRESSES}


def content(store: Redis) -> dict[Any, Any]:
    return {key: store.dump(key) for key in store.scan_iter()}


# --- nothing runs, nothing changes


def test_no_page_runs_what_the_store_holds_or_changes_it(poisoned: Redis, cage: Path, admin: Client) -> None:
    before = content(poisoned)
    assert statuses(admin) == {page: 200 if name in OWN else 403 for page, name in ADDRESSES.items()}
    assert not (cage / "sang").exists()
    assert content(poisoned) == before


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_every_other_method_is_refused(poisoned: Redis, cage: Path, admin: Client, method: str) -> None:
    before = content(poisoned)
    assert statuses(admin, method) == {page: 405 if name in OWN else 403 for page, name in ADDRESSES.items()}
    assert not (cage / "sang").exists()
    assert content(poisoned) == before


@pytest.mark.parametrize("action", ["delete", "requeue", "stop"])
def test_every_form_of_the_stock_pages_is_refused(poisoned: Redis, admin: Client, action: str) -> None:
    before = content(poisoned)
    fields = {"action": action, "job_ids": PARTS["job_id"], "_selected_action": PARTS["job_id"], "post": "yes"}
    assert {admin.post(page, fields).status_code for page in ADDRESSES} == {403, 405}
    assert content(poisoned) == before


def test_the_page_of_a_poisoned_job_runs_nothing(poisoned: Redis, cage: Path, admin: Client) -> None:
    for name in NAMES:
        page = reverse("admin:django_rq_job_detail", args=[0, name])
        assert "this job starts nothing" in admin.get(page).content.decode()
    assert not (cage / "sang").exists()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--json"], ["--yaml"]])
def test_rqstats_runs_nothing(poisoned: Redis, cage: Path, arguments: list[str]) -> None:
    done = run_rqstats(*arguments)
    assert (done.returncode, "builds" in done.stdout) == (0, True), done.stderr
    assert not (cage / "sang").exists()


def run_rqstats(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(django_settings.BASE_DIR / "manage.py"), "rqstats", *arguments]
    return subprocess.run(command, env=environment(django_settings.REDIS_URL), capture_output=True, text=True, timeout=120)


STOCK = """
import sys, django
from django.conf import settings
apps = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.admin", "django_rq"]
settings.configure(RQ_QUEUES={"builds": {"URL": sys.argv[1]}}, INSTALLED_APPS=apps, USE_TZ=True)
django.setup()
from django_rq.utils import get_statistics
try:
    get_statistics()
except AttributeError:
    pass  # the job has no enqueued_at
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with_pickled_meta-pickle", "with_pickled_result-pickle"])
def test_the_stock_dashboard_would_run_it(poisoned: Redis, cage: Path, name: str) -> None:
    poisoned.delete(LIST)
    poisoned.rpush(LIST, name)
    subprocess.run([sys.executable, "-c", STOCK, django_settings.REDIS_URL], check=True, timeout=120)
    assert (cage / "sang").exists()


@pytest.mark.slow
def test_the_stock_dashboard_would_call_the_callbacks_of_an_abandoned_job(store: Redis, cage: Path) -> None:
    put(store, with_callbacks(cage, lambda value: b"never loaded"), status="started")
    subprocess.run([sys.executable, "-c", STOCK, django_settings.REDIS_URL], check=True, timeout=120)
    assert (cage / "sang").exists()


# --- who can see it


@pytest.mark.parametrize("role", ["editors", "viewers"])
def test_staff_without_the_permission_are_refused(poisoned: Redis, cage: Path, role: str) -> None:
    client = signed_in(role, is_staff=True)
    assert set(statuses(client).values()) == set(statuses(client, "post").values()) == {403}
    assert not (cage / "sang").exists()


@pytest.mark.parametrize("role", ["", "viewers", "editors", "admins"])
def test_everyone_else_is_sent_to_the_sign_in(poisoned: Redis, cage: Path, role: str) -> None:
    client = signed_in(role, is_staff=False) if role else Client()
    target = reverse("admin:login") if role else reverse("desk:sign-in")
    for page in ADDRESSES:
        for answer in (client.get(page), client.post(page), client.get(page, headers={"Authorization": "Bearer guessed"})):
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, target)
    assert not (cage / "sang").exists()


def test_a_token_opens_nothing(poisoned: Redis, settings: Any) -> None:
    settings.RQ_API_TOKEN = "guessed"
    page = reverse("admin:django_rq_home_json", kwargs={"token": "guessed"})
    assert Client().get(page, headers={"Authorization": "Bearer guessed"}).status_code == 302


def test_the_index_names_it_to_those_who_can_open_it(admin: Client) -> None:
    page = reverse("admin:django_rq_home")
    assert page in admin.get(reverse("admin:index")).content.decode()
    assert page not in signed_in("editors", is_staff=True).get(reverse("admin:index")).content.decode()
    assert admin.get(reverse("admin:app_list", args=["django_rq"])).status_code == 200


def test_nothing_else_of_django_rq_is_mounted(admin: Client) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("django_rq:home")
    for missing in ("add/", "1/", "1/change/", "1/delete/", "1/history/", "metrics/", "metrics"):
        assert admin.get(reverse("admin:django_rq_home") + missing).status_code == 404


# --- what it shows


def test_the_overview_counts_jobs_and_lists_workers(poisoned: Redis, admin: Client) -> None:
    page = admin.get(reverse("admin:django_rq_home"))
    assert {count for _, _, count in page.context["counts"]} == {str(len(NAMES))}
    assert page.context["workers"] == [("evil", ["busy", "", "", "never", "", "with_callbacks-json", ""])]


def test_each_list_names_its_jobs(poisoned: Redis, admin: Client) -> None:
    for name in (name for name in PAGES if name.endswith("jobs")):
        listed = [id for id, _, _ in admin.get(reverse(f"admin:django_rq_{name}", args=[0])).context["jobs"]]
        assert sorted(listed) == NAMES


def test_a_job_leads_to_its_build(store: Redis, admin: Client, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        build = submit().newest_build()
    listed = admin.get(reverse("admin:django_rq_jobs", args=[0])).content.decode()
    page = reverse("admin:django_rq_job_detail", args=[0, build.pk])
    assert page in listed
    assert reverse("admin:builds_build_change", args=[build.pk]) in admin.get(page).content.decode()
    assert Build.objects.get().state == "queued"


def test_long_lists_have_pages(store: Redis, admin: Client) -> None:
    store.rpush(LIST, *(f"job-{number:03}" for number in range(250)))
    page = reverse("admin:django_rq_jobs", args=[0])
    shown = [[id for id, _, _ in admin.get(f"{page}?page={number}").context["jobs"]] for number in (1, 2, 3, 4)]
    assert [len(ids) for ids in shown] == [100, 100, 50, 0]
    assert sorted(id for ids in shown for id in ids) == [f"job-{number:03}" for number in range(250)]
    assert 'href="?page=2"' in admin.get(page).content.decode()


def test_odd_page_numbers_are_answered(store: Redis, admin: Client) -> None:
    for number in ("0", "-1", "x", "9" * 400, "\u00b2", "\u0663", ""):
        assert admin.get(reverse("admin:django_rq_jobs", args=[0]), {"page": number}).status_code == 200


def test_another_queue_or_job_is_not_found(store: Redis, admin: Client) -> None:
    assert admin.get(reverse("admin:django_rq_jobs", args=[1])).status_code == 404
    for missing in ("no-such-job", "%00", "%ff%fe", "00000000-0000-0000-0000-000000000000"):
        assert admin.get(f"{reverse('admin:django_rq_home')}queues/0/{missing}/").status_code == 404


ODD_JOBS: dict[Any, Any] = {
    "no-times": {"data": b"x"},
    "bad-times": {"data": b"x", "created_at": "yesterday", "enqueued_at": b"\xff", "status": "<b>odd</b>"},
    "empty/with/slashes?#": {"status": ""},
    "\u202eevil": {"status": "queued"},
    b"\xff\xfe": {"status": "queued"},
    "long" * 1000: {"status": "x" * 100_000},
}


def put_odd_jobs(store: Redis) -> None:
    for id, fields in ODD_JOBS.items():
        store.rpush(LIST, id)
        store.hset(b"rq:job:" + (id if isinstance(id, bytes) else id.encode()), mapping=fields)
        for registry in REGISTRIES:
            store.zadd(registry, {id: 1})
    store.rpush(LIST, "not-a-hash")
    store.set("rq:job:not-a-hash", "text")
    store.sadd("rq:workers:builds", "rq:worker:text", "elsewhere")
    store.set("rq:worker:text", "text")


def test_odd_content_is_answered(store: Redis, admin: Client) -> None:
    put_odd_jobs(store)
    missing = reverse("admin:django_rq_job_detail", args=[0, PARTS["job_id"]])
    expected = {page: 200 if name in OWN else 403 for page, name in ADDRESSES.items()}
    assert statuses(admin) == {**expected, missing: 404}


def test_odd_content_is_shown_as_text_of_limited_length(store: Redis, admin: Client) -> None:
    put_odd_jobs(store)
    page = admin.get(reverse("admin:django_rq_jobs", args=[0])).content.decode()
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "unreadable" in page
    assert "\u202e" not in page
    assert len(page) < 30_000


def test_keys_of_the_wrong_kind_are_reported(store: Redis, admin: Client) -> None:
    for key in (LIST, *REGISTRIES, "rq:workers:builds", f"rq:job:{PARTS['job_id']}"):
        store.set(key, "text")
    for page in (page for page, name in ADDRESSES.items() if name in OWN):
        answer = admin.get(page)
        expected = "unreadable" if answer.status_code == 200 else "has unexpected content"
        assert (answer.status_code in (200, 503), expected in answer.content.decode()) == (True, True)


def test_a_store_that_is_away_is_reported(admin: Client) -> None:
    assert statuses(admin) == {page: 503 if name in OWN else 403 for page, name in ADDRESSES.items()}
    assert "The queue store is not available" in admin.get(reverse("admin:django_rq_home")).content.decode()


def test_pages_have_no_inline_scripts_or_styles_and_no_forms(poisoned: Redis, admin: Client) -> None:
    for page, name in ADDRESSES.items():
        if name in OWN:
            main = admin.get(page).content.decode().split('id="content"')[1]
            assert not any(found in main for found in ("<script", "<style", "style=", "onclick", "<form", "<button", "<input"))
