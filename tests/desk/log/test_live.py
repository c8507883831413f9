"""An answer that goes on: what each reader gets, by how many statements, and when it ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from builds import lifecycle
from builds.desk.log import live
from builds.errors import Cause, Fault
from builds.models import Build
from builds.staff.roles import VIEWERS
from jobsite.web.stream import STREAM, Stream
from tests.desk.conftest import SignIn
from tests.desk.log.test_views import address, numbers
from tests.support import written


class Connection:
    """Stands in for a connection of the web server, whose loop acts at once."""

    connected, total_outbufs_len, close_when_flushed = True, 0, False

    def __init__(self) -> None:
        self.stream: Stream | None = Stream(self, is_chunked=False)  # type: ignore[arg-type]
        self.server = self.trigger = self
        self.written: list[bytes] = []
        self.write_apart = self.written.append

    def pull_trigger(self, act: Callable[[], None]) -> None:
        act()

    @property
    def is_open(self) -> bool:
        return self.stream is not None

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.written).splitlines() if line]

    def lines(self) -> list[int]:
        return [number for answer in self.answers() for number in numbers("".join(answer.get("lines", [])))]


@pytest.fixture
def broadcast(monkeypatch: pytest.MonkeyPatch) -> live.Broadcast:
    """Sends only when a test calls it."""
    made = live.Broadcast()
    monkeypatch.setattr(live, "broadcast", made)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    return made


def follow(client: Client, build: Build, **query: Any) -> Connection:
    """Follow a log as the web server lets a client do it."""
    begun: list[Callable[[Stream], None]] = []
    made = Connection()
    response: Any = client.get(address(build, "log/follow/"), query, **{STREAM: begun.append})  # type: ignore[arg-type]
    assert response.status_code == 200
    made.written += [b"".join(response.streaming_content)]
    for begin in begun:
        assert made.stream
        begin(made.stream)
    if not begun:
        made.stream = None
    return made


def running(*texts: str) -> Build:
    build = written.claimed()
    written.stage(build, "fetch", texts, ends="")
    return build


def test_new_lines_and_a_new_state_reach_everyone_once(viewer: Client, sign_in: SignIn, broadcast: live.Broadcast) -> None:
    build = running("one", "two")
    readers = [follow(viewer, build, after=0), follow(sign_in(VIEWERS), build, after=1), follow(viewer, build)]
    assert [reader.lines() for reader in readers] == [[1, 2], [2], []]
    written.write(build, "three", stage="fetch")
    for _ in range(2):
        broadcast.send(0)
    assert [reader.lines() for reader in readers] == [[1, 2, 3], [2, 3], [3]]
    lifecycle.request_cancel(build, actor="ada", reason="")
    broadcast.send(0)
    assert {reader.answers()[-1]["words"] for reader in readers} == {"being cancelled"}
    assert all(reader.is_open for reader in readers)


def test_what_was_written_before_the_answer_went_on_is_not_lost(viewer: Client, broadcast: live.Broadcast) -> None:
    build = running("one")
    early = follow(viewer, build, after=0)
    written.write(build, "two", stage="fetch")
    late = follow(viewer, build, after=0)
    written.write(build, "three", stage="fetch")
    broadcast.send(0)
    assert (early.lines(), late.lines()) == ([1, 2, 3], [1, 2, 3])


def test_the_end_of_the_attempt_ends_the_answer(viewer: Client, broadcast: live.Broadcast) -> None:
    build = running("one")
    reader = follow(viewer, build, after=0)
    build.refresh_from_db()
    lifecycle.fail(build, Cause(Fault.MANUSCRIPT, "build-failed", "It broke."), stage="fetch")
    broadcast.send(0)
    assert (reader.answers()[-1]["goes_on"], reader.answers()[-1]["words"], reader.is_open) == (False, "failed", False)
    assert not follow(viewer, build, after=0).is_open


def test_one_readers_search_is_not_in_anothers_lines(viewer: Client, broadcast: live.Broadcast) -> None:
    build = running("needle")
    searching, other = follow(viewer, build, after=0, q="needle"), follow(viewer, build, after=0)
    written.write(build, "needle", stage="fetch")
    broadcast.send(0)
    assert [json.dumps(reader.answers()[0]).count("<mark") for reader in (searching, other)] == [1, 0]
    assert searching.answers()[1] == other.answers()[1]
    assert "<mark" not in json.dumps(searching.answers()[1])


def sign_out(client: Client) -> None:
    client.post("/sign-out/")


def lose_role(client: Client) -> None:
    User.objects.get().groups.clear()


def lose_account(client: Client) -> None:
    User.objects.update(is_active=False)


def change_password(client: Client) -> None:
    user = User.objects.get()
    user.set_password("another password")
    user.save()


def expire(client: Client) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("lose", [sign_out, lose_role, lose_account, change_password, expire])
def test_a_reader_who_has_lost_access_gets_nothing_more(
    viewer: Client, broadcast: live.Broadcast, lose: Callable[[Client], None]
) -> None:
    build = running("one")
    reader = follow(viewer, build, after=0)
    broadcast.send(live.CHECK_SECONDS)
    assert reader.is_open
    lose(viewer)
    written.write(build, "a secret", stage="fetch")
    broadcast.send(2 * live.CHECK_SECONDS)
    assert (reader.is_open, reader.lines()) == (False, [1])


def test_the_others_keep_theirs_when_one_reader_loses_access(viewer: Client, sign_in: SignIn, broadcast: live.Broadcast) -> None:
    build = running("one")
    reader, other = follow(viewer, build, after=0), follow(sign_in(VIEWERS), build, after=0)
    Group.objects.get(name=VIEWERS).user_set.get(pk=User.objects.earliest("pk").pk).groups.clear()
    broadcast.send(live.CHECK_SECONDS)
    assert (reader.is_open, other.is_open) == (False, True)


def test_a_request_is_checked_as_a_whole_again_in_the_end(viewer: Client, broadcast: live.Broadcast) -> None:
    reader = follow(viewer, running("one"), after=0)
    broadcast.send(time.monotonic() + live.MAX_SECONDS - 60)
    assert reader.is_open
    broadcast.send(time.monotonic() + live.MAX_SECONDS)
    assert not reader.is_open


def test_an_erased_attempt_ends_the_answer(viewer: Client, broadcast: live.Broadcast) -> None:
    build = running("one")
    reader = follow(viewer, build, after=0)
    build.delete()
    broadcast.send(0)
    assert not reader.is_open


def test_many_readers_need_as_many_statements_as_one(
    viewer: Client, sign_in: SignIn, broadcast: live.Broadcast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    build = running("one")
    for client in [viewer, *(sign_in(VIEWERS) for _ in range(9))]:
        follow(client, build, after=0)
    with django_assert_num_queries(1):  # nothing is new
        broadcast.send(0)
    written.write(build, "two", stage="fetch")
    with django_assert_num_queries(5):  # the attempt, its stages, and its batches
        broadcast.send(0)
    with django_assert_num_queries(3):  # the sessions and the accounts
        broadcast.send(live.CHECK_SECONDS)


def test_a_quiet_log_says_that_the_connection_lives(viewer: Client, broadcast: live.Broadcast) -> None:
    reader = follow(viewer, running("one"), after=0)
    broadcast.send(live.ALIVE_SECONDS)
    broadcast.send(live.ALIVE_SECONDS + 1)
    assert reader.written[1:] == [b"\n"]


@pytest.mark.parametrize("query", [{}, {"once": 1}])
def test_the_answer_ends_at_once_where_it_cannot_go_on(viewer: Client, query: dict[str, int]) -> None:
    environment: Any = {STREAM: pytest.fail} if query else {}
    response: Any = viewer.get(address(running("one"), "log/follow/"), {"after": 0, **query}, **environment)
    (answer,) = b"".join(response.streaming_content).splitlines()
    assert (json.loads(answer)["total"], json.loads(answer)["goes_on"]) == (1, True)


def test_an_answer_that_goes_on_is_not_kept_on_its_way(viewer: Client) -> None:
    response = viewer.get(address(running("one"), "log/follow/"))
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("private, no-store", "no")


@pytest.mark.parametrize("error", [OperationalError, ZeroDivisionError])
def test_a_failure_lets_all_ask_again(
    viewer: Client, broadcast: live.Broadcast, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    reader = follow(viewer, running("one"), after=0)

    def fail(builds: object) -> None:
        raise error

    monkeypatch.setattr(live, "read_progress", fail)
    monkeypatch.setattr(connection, "close", lambda: None)
    broadcast._run()
    assert not reader.is_open


def test_a_thread_that_could_not_start_is_started_for_the_next_reader(
    viewer: Client, broadcast: live.Broadcast, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, started = running("one"), list[str]()

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError):
        follow(viewer, build, after=0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread.name))
    follow(viewer, build, after=0)
    follow(viewer, build, after=0)
    assert started == ["live logs"]
