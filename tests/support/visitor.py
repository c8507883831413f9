"""A person of the staff who looks at every page of the desk and the admin, as fast as they are answered."""

from __future__ import annotations

import re
import threading
from types import TracebackType

import requests

from tests.e2e.conftest import Service, in_django

PAGES = (
    *("/submissions/", "/submissions/live/", "/submissions/csv/", "/submissions/{pk}/", "/submissions/{pk}/live/", "/overview/"),
    *("/queue/", "/settings/", "/account/password/", "/submissions/{pk}/attempts/1/log/", "/readyz", "/static/desk/desk.css"),
    *(
        "/admin/",
        "/admin/builds/build/",
        "/admin/builds/submission/",
        "/admin/builds/submission/{pk}/change/",
        "/admin/auth/user/",
    ),
)
PASSWORD = "a long password, with spaces"
MAKE = f"from django.contrib.auth.models import User; User.objects.create_superuser('visitor', password={PASSWORD!r})"


class Visitor:
    """Polls the pages in a thread while the block runs. ``failed`` are the answers of 500 and above, and requests without an answer."""

    def __init__(self, service: Service, pk: int) -> None:
        self._service, self._pk = service, pk
        self._session = requests.Session()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll)
        self.rounds = 0
        self.failed: list[str] = []
        self.codes: dict[str, int] = {}

    def sign_in(self) -> None:
        address = f"{self._service.url}/sign-in/"
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self._session.get(address, timeout=120).text)
        assert token
        form = {"username": "visitor", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        answer = self._session.post(address, form, allow_redirects=False, timeout=120)
        assert answer.status_code == 302, answer.text

    def look_at_all(self) -> None:
        for page in PAGES:
            path = page.format(pk=self._pk)
            try:
                code = self._session.get(f"{self._service.url}{path}", timeout=120, headers={"Connection": "close"}).status_code
            except requests.RequestException as error:
                self.failed.append(f"{path}: {error}")
                continue
            self.codes[path] = code
            if code >= 500:
                self.failed.append(f"{path}: {code}")
        self.rounds += 1

    def _poll(self) -> None:
        while not self._done.is_set():
            self.look_at_all()

    def __enter__(self) -> Visitor:
        self.sign_in()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()


def make_visitor(service: Service, pk: int) -> Visitor:
    in_django(service, MAKE)
    return Visitor(service, pk)
