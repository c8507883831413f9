"""A build's log: no line is lost, duplicated, or added after the end, whatever threads and the database do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from builds import lifecycle
from builds.engine.findings import Findings
from builds.errors import BuildError, BuildStopped, CommandFailed
from builds.lib.redact import Redactor
from builds.lib.stop import Stop
from builds.models import Build, LogBatch
from builds.pipeline.lease import Lease
from builds.record import logs, patience
from builds.record.findings import FindingWriter
from tests.support.rows import claim, lapse, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def build() -> Build:
    return claim(submit())


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits."""
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.05)


def writer(build: Build) -> logs.LogWriter:
    return logs.LogWriter(build, lambda text: text)


def lease(build: Build, log: logs.LogWriter, stop: Stop) -> Lease:
    return Lease(build, log, FindingWriter(build, Findings(), str), stop)


def texts(build: Build, first_line: int = 1) -> list[str]:
    return [line.text for line in logs.read(build, first_line)]


def numbers(build: Build) -> list[int]:
    return [line.number for line in logs.read(build)]


class AwayFor:
    """A database that fails for this many tries. With ``after``, it stores the batch and the connection breaks before its answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tries: float, *, after: bool = False) -> None:
        self._write, self._left, self._after = logs.LogWriter._write_batches, tries, after
        monkeypatch.setattr(logs.LogWriter, "_write_batches", lambda log: self(log))

    def __call__(self, log: logs.LogWriter) -> None:
        away = self._left > 0
        self._left -= 1
        if self._after or not away:
            self._write(log)
        if away:
            raise OperationalError("database is locked")


def test_numbers_have_no_gaps_across_batches(build: Build) -> None:
    log = writer(build)
    told = []
    for batch in range(5):
        told += [log.line(f"{batch} {line}") for line in range(batch + 1)]
        log.flush()
    assert told == list(range(1, 16)) == numbers(build)
    build.refresh_from_db()
    assert build.log_lines == 15
    assert LogBatch.objects.count() == 5


@pytest.mark.parametrize("first_line", range(-1, 12))
def test_reading_starts_at_any_line(build: Build, first_line: int) -> None:
    log = writer(build)
    for number in range(1, 10):
        log.line(f"line {number}")
        if number in (1, 4, 5):
            log.flush()
    log.flush()
    assert texts(build, first_line) == [f"line {number}" for number in range(max(first_line, 1), 10)]


def test_a_line_keeps_its_stage_stream_and_text(build: Build) -> None:
    log = writer(build)
    log.line("before")
    log.stage = "build"
    log.line("a\tb\u2028c\x85d\re", stream="stderr")
    log.line("")
    log.line("one\ntwo\0three")
    log.flush()
    lines = list(logs.read(build))
    assert [(line.stage, line.stream) for line in lines] == [("", "service"), ("build", "stderr"), *[("build", "service")] * 2]
    assert [line.text for line in lines] == ["before", "a\tb\u2028c\x85d\re", "", "one twothree"]


def test_characters_that_no_database_accepts_are_replaced(build: Build) -> None:
    log = writer(build)
    log.line("half a pair: \ud83d.")
    log.flush()
    assert texts(build) == ["half a pair: ?."]


def test_huge_lines_are_whole_and_written_at_once(build: Build) -> None:
    log = writer(build)
    for letter in "ab":
        log.line(letter * 3_000_000)
    assert [len(text) for text in texts(build)] == [3_000_000, 3_000_000]
    assert numbers(build) == [1, 2]


def test_many_lines_make_few_batches(build: Build) -> None:
    log = writer(build)
    for number in range(20_000):
        log.line(f"line {number}")
    log.flush()
    assert numbers(build) == list(range(1, 20_001))
    assert LogBatch.objects.count() < 30


def test_concurrent_lines_and_flushes_lose_and_duplicate_nothing(build: Build) -> None:
    log = writer(build)
    done = threading.Event()

    def flush(act: Callable[[], None]) -> None:
        while not done.is_set():
            act()
        connection.close()

    threads = [threading.Thread(target=flush, args=[act]) for act in (log.flush, log.flush_at_once)]
    for thread in threads:
        thread.start()
    told = [log.line(f"{number}") for number in range(3000)]
    done.set()
    for thread in threads:
        thread.join()
    log.flush()
    assert told == numbers(build) == list(range(1, 3001))
    assert texts(build) == [str(number) for number in range(3000)]


def test_secrets_are_masked_in_lines(build: Build) -> None:
    log = logs.LogWriter(build, Redactor(["hunter2-hunter2"]).redact)
    log.line("password=hunter2-hunter2; git clone https://me:pass@host/x")
    log.line("Authorization: Bearer abc and hunter2-hunter2", stream="warning")
    log.flush()
    assert texts(build) == ["password=***; git clone https://me:***@host/x", "Authorization: Bearer *** and ***"]


def test_secrets_are_masked_in_many_lines_and_no_line_is_taken_for_the_rest_of_another(build: Build) -> None:
    log = logs.LogWriter(build, Redactor(["hunter2-hunter2", "first\nsecond"]).redact)
    written = ["dull", "Authorization: Bearer", "next hunter2-hunter2", "first", "second", ""]
    assert log.write_lines(["before"], stream="stdout") == 1
    assert log.write_lines(written, stream="stdout") == 2
    assert log.write_lines([], stream="stdout") == log.line("last") == 8
    log.flush()
    assert texts(build) == ["before", "dull", "Authorization: Bearer", "next ***", "first", "second", "", "last"]


def test_a_burst_of_lines_becomes_batches_of_a_size_that_can_be_read(build: Build) -> None:
    log = writer(build)
    for first in range(0, 60_000, 20_000):
        log.write_lines([str(number) for number in range(first, first + 20_000)], stream="stdout")
    log.flush()
    assert texts(build) == [str(number) for number in range(60_000)]
    sizes = [len(records) for records in LogBatch.objects.values_list("records", flat=True)]
    assert max(sizes) < 2 * logs.BATCH_CHARACTERS
    assert len(sizes) < 60


@pytest.mark.parametrize("how", ["failed", "lost", "cancelled"])
def test_nothing_is_added_once_the_build_has_ended(build: Build, how: str) -> None:
    log = writer(build)
    log.line("while it ran")
    log.flush()
    if how == "failed":
        lifecycle.fail(build, CommandFailed().cause)
    elif how == "lost":
        lapse(build)
        lifecycle.lose(build)
    else:
        lifecycle.request_cancel(build, actor="ed", reason="x")
        lifecycle.finish_cancel(build)
    log.line("too late")
    for flush in (log.flush, log.flush_at_once):
        with pytest.raises(BuildStopped):
            flush()
    assert texts(build) == ["while it ran"]
    build.refresh_from_db()
    assert build.log_lines == 1


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("after", [False, True], ids=["before the batch is taken", "after it"])
def test_a_database_outage_loses_and_duplicates_nothing(build: Build, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 30.0)
    log = writer(build)
    log.line("one"), log.line("two")
    AwayFor(monkeypatch, 3, after=after)
    log.flush()
    assert log.line("three") == 3
    log.flush()
    assert texts(build) == ["one", "two", "three"]


@pytest.mark.usefixtures("hurried")
def test_a_lasting_database_outage_fails_the_build_as_the_services_fault(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    log = writer(build)
    AwayFor(monkeypatch, float("inf"))
    log.line("one")
    with pytest.raises(BuildError, match="database was unavailable") as raised:
        log.flush()
    assert raised.value.cause.fault == "service"


def test_lines_after_an_uncertain_write_are_kept(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first batch was stored, though the writer got an error. The next try has more lines."""
    log = writer(build)
    AwayFor(monkeypatch, 1, after=True)
    log.line("one")
    with pytest.raises(OperationalError):
        log.flush_at_once()
    log.line("two")
    log.flush_at_once()
    assert (texts(build), numbers(build)) == (["one", "two"], [1, 2])


def test_the_lease_is_kept_while_the_log_waits_for_the_database(
    build: Build, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Only the log's table is locked: the lease must not wait for it."""
    settings.LEASE_SECONDS = 2
    log, stop = writer(build), Stop()
    AwayFor(monkeypatch, float("inf"))
    log.line("one")
    renewed = threading.Semaphore(0)
    renew = lifecycle.renew

    def counted(build: Build) -> str:
        reason = renew(build)
        renewed.release()
        return reason

    monkeypatch.setattr(lifecycle, "renew", counted)
    with pytest.raises(KeyError), lease(build, log, stop):
        assert renewed.acquire(timeout=300)
        assert renewed.acquire(timeout=300)
        raise KeyError
    assert not stop.is_set


@pytest.mark.slow
def test_a_lease_that_expires_during_a_database_outage_is_lost(
    build: Build, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.LEASE_SECONDS = 1
    stop = Stop()

    def renew(build: Build) -> str:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(lifecycle, "renew", renew)
    stop.hold_until(time.monotonic() + 1)
    with pytest.raises(BuildStopped, match="lease of this build ran out"), lease(build, writer(build), stop):
        while True:
            stop.wait(0.05)


def test_a_bug_in_renewing_the_lease_stops_the_build(build: Build, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.LEASE_SECONDS = 1
    stop = Stop()

    def renew(build: Build) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(lifecycle, "renew", renew)
    with pytest.raises(BuildStopped), lease(build, writer(build), stop):
        stop.wait(20)
        raise AssertionError


@pytest.mark.parametrize("gone", [1, 4, 7])
def test_lines_of_a_batch_that_is_gone_are_reported_missing_in_their_place(build: Build, gone: int) -> None:
    log = writer(build)
    for number in range(1, 10):
        log.line(f"line {number}")
        if number % 3 == 0:
            log.flush()
    build.refresh_from_db()
    LogBatch.objects.filter(first_line=gone).delete()
    expected = [logs.MISSING if gone <= number < gone + 3 else f"line {number}" for number in range(1, 10)]
    for first in range(1, 10):
        assert texts(build, first) == expected[first - 1 :]
        for last in range(first, 10):
            assert [line.text for line in logs.read(build, first, last)] == expected[first - 1 : last]
