"""Requests through deploy/nginx-jobsite.conf, in a real nginx, to the real web server."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.conftest import BASE_DIR, SECRET, SUBMISSIONS, own_database_setting
from tests.support.ports import free_port
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.any_database,
    pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("openssl"), reason="no nginx"),
]

SITE = BASE_DIR / "deploy" / "nginx-jobsite.conf"
NAME = "jobsite.example.org"
CLIENT = "127.0.0.2"
MANAGE = [sys.executable, str(BASE_DIR / "manage.py")]
FAILED_SIGN_INS = "from axes.models import AccessAttempt\nprint(*AccessAttempt.objects.values_list('ip_address', flat=True))"

# A queued attempt, and the session of somebody who may read its log.
MAKE_READER = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from builds import lifecycle
from builds.models import Submission
lifecycle.submit(lifecycle.Request("followed", "followed.", "https://github.com/a/b/blob/main/myst.yml", "a/b", {"title": "T"}))
user = User.objects.create_superuser("reader")
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.create()
print(Submission.objects.get().pk, session.session_key)
"""
CANCEL = """
from builds import lifecycle
from builds.models import Build
lifecycle.request_cancel(Build.objects.get(), actor="reader", reason="")
"""


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Site:
    """nginx with its two ports, and the web server behind it."""

    https: int
    http: int
    data: Path
    environment: dict[str, str]

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """A request over HTTPS from the address CLIENT."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.connection()) as connection:
            connection.request(method, path, body, {"Host": NAME, **named})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def connection(self) -> HTTPSConnection:
        context = ssl.create_default_context(cafile=self.data.with_name("jobsite.pem"))
        context.check_hostname = False  # it is asked by its address
        return HTTPSConnection("127.0.0.1", self.https, timeout=120, source_address=(CLIENT, 0), context=context)

    def shell(self, script: str) -> str:
        """Run a script with the service's database, and return its output."""
        command = [*MANAGE, "shell", "--no-imports", "-c", script]
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    web, data = free_port(), folder / "data"
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "any",
        "INTERNAL_SERVICE_SECRET": SECRET,
        "DATA_DIR": str(data),
        **own_database_setting(data),
        "PORT": str(web),
        "HOST": "127.0.0.1",
        "PUBLIC_URL": f"https://{NAME}",
        "PROXIES": "1",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    made = Site(free_port(), free_port(), data, environment)
    subprocess.run([*MANAGE, "migrate", "--verbosity", "0"], env=environment, check=True)
    running = [subprocess.Popen([*MANAGE, "web"], env=environment), _nginx(folder, made, web)]
    try:
        wait_until(lambda: _answers(made))
        yield made
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


def _answers(site: Site) -> bool:
    try:
        return site.ask("GET", "/readyz").status == 200
    except OSError:
        return False


def _nginx(folder: Path, site: Site, web: int) -> subprocess.Popen[bytes]:
    """Start nginx with the file as it is, but for its addresses and certificate."""
    certificate, key = folder / "jobsite.pem", folder / "jobsite.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    subprocess.run([*command, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    text = SITE.read_text()
    changes = {
        "listen 443 ssl": f"listen 127.0.0.1:{site.https} ssl",
        "listen 80": f"listen 127.0.0.1:{site.http}",
        "127.0.0.1:5454": f"127.0.0.1:{web}",
        "/etc/ssl/jobsite.pem": str(certificate),
        "/etc/ssl/jobsite.key": str(key),
    }
    for there, here in changes.items():
        assert there in text
        text = text.replace(there, here)
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""
    whole = f"daemon off; pid {folder}/pid; error_log stderr; {user} events {{}} http {{ access_log off; {paths}\n{text}\n}}"
    (folder / "nginx.conf").write_text(whole)
    nginx = ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*nginx, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    return subprocess.Popen(nginx)


def test_a_page_is_compressed(site: Site) -> None:
    answer = site.ask("GET", "/static/desk/desk.css", Accept_Encoding="gzip")
    assert (answer.status, answer.headers["Content-Encoding"], answer.headers["Vary"]) == (200, "gzip", "Accept-Encoding")
    assert gzip.decompress(answer.body) == (BASE_DIR / "builds/static/desk/desk.css").read_bytes()


def test_the_service_knows_the_clients_address_whatever_the_client_claims(site: Site) -> None:
    page = site.ask("GET", "/sign-in/")
    token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page.body)
    assert token
    form = urlencode({"username": "ada", "password": "wrong", "csrfmiddlewaretoken": token[1].decode()}).encode()
    site.ask(
        "POST",
        "/sign-in/",
        form,
        Cookie=page.headers["Set-Cookie"].partition(";")[0],
        Content_Type="application/x-www-form-urlencoded",
        Referer=f"https://{NAME}/sign-in/",
        X_Forwarded_For="9.9.9.9",
    )
    assert site.shell(FAILED_SIGN_INS).split() == [CLIENT]


def test_a_body_that_is_too_large_is_refused(site: Site) -> None:
    answer = site.ask("POST", SUBMISSIONS, Content_Length=str((100 << 20) + 1), X_Internal_Secret=SECRET)
    assert answer.status == 413


def test_a_submission_passes_through(site: Site) -> None:
    answer = site.ask("POST", SUBMISSIONS, b"{}", X_Internal_Secret=SECRET, Content_Type="application/json")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert b"URL, jobId and uuid are required" in answer.body


def test_an_answer_that_goes_on_arrives_line_by_line(site: Site) -> None:
    pk, session = site.shell(MAKE_READER).split()
    with closing(site.connection()) as connection:
        path = f"/submissions/{pk}/attempts/1/log/follow/?after=0"
        connection.request("GET", path, headers={"Host": NAME, "Cookie": f"sessionid={session}", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert json.loads(answer.readline())["words"] == "queued"
        site.shell(CANCEL)
        news = [json.loads(line) for line in answer.read().splitlines() if line]
    assert [each["words"] for each in news] == ["cancelled"]


def test_the_metrics_are_not_public(site: Site) -> None:
    assert site.ask("GET", "/metrics").status == 404


def test_plain_http_is_redirected(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.http, timeout=120)
    with closing(connection):
        connection.request("GET", "/queue/", headers={"Host": NAME})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Location")) == (301, f"https://{NAME}/queue/")
