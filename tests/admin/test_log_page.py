"""A build's log as a page, and as raw text."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from builds.logs import LogWriter
from builds.models import Build
from tests.admin.conftest import BIDI, SCRIPT, claimed, submit


@pytest.fixture
def running(db: None) -> Build:
    return claimed(submit())


def write(build: Build, *lines: str, stream: str = "stdout") -> None:
    build.refresh_from_db()
    log = LogWriter(build, lambda text: text)
    log.stage = "build"
    for line in lines:
        log.line(line, stream=stream)
    log.flush()


def read(client: Client, build: Build, **query: Any) -> str:
    response = client.get(reverse("admin:builds_build_log", args=[build.pk]), query)
    assert response.status_code == 200
    return response.content.decode()


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr id="L(\d+)">', text)]


def froms(text: str) -> dict[str, int]:
    """Where the links to other pages lead, by their words."""
    nav = text.partition('aria-label="Pages of the log"')[2].partition("</nav>")[0]
    return {word: int(first) for first, word in re.findall(r'href="\?from=(\d+)"[^>]*>(\w+)</a>', nav)}


def test_a_line_has_number_time_stage_and_stream(admin_page: Client, running: Build) -> None:
    write(running, "hello")
    write(running, "oh no", stream="stderr")
    text = read(admin_page, running)
    assert '<tr id="L1"><th scope="row"><a href="#L1">1</a></th>' in text
    assert re.search(r'<time datetime="20[\d-]+T[\d:.]+\+00:00">\d\d:\d\d:\d\d</time></td><td>build</td><td></td>', text)
    assert '<td>stderr</td><td class="text"><bdi>oh no</bdi>' in text
    assert "The build has not ended" in text


def test_streams_are_words(admin_page: Client, running: Build) -> None:
    for stream in ("stdout", "stderr", "service", "warning"):
        write(running, "x", stream=stream)
    cells = re.findall(r'<td>(\w*)</td><td class="text">', read(admin_page, running))
    assert cells == ["", "stderr", "Jobsite", "warning"]


def test_text_is_escaped_and_colours_are_left_out(admin_page: Client, running: Build) -> None:
    write(running, SCRIPT, f"\x1b[1;31mred\x1b[0m {BIDI}", "a\tb")
    text = read(admin_page, running)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and SCRIPT not in text
    assert "<bdi>red safe\\u202egnp.exe</bdi>" in text and "<bdi>a\tb</bdi>" in text


def test_a_long_line_is_cut_with_words(admin_page: Client, running: Build) -> None:
    write(running, "x" * 5000)
    text = read(admin_page, running)
    assert "x" * 4000 in text and "x" * 4001 not in text and "cut here" in text


def test_the_log_is_paged(admin_page: Client, running: Build) -> None:
    write(running, *(str(number) for number in range(1, 4502)))
    first, middle, end = (read(admin_page, running, **{"from": start}) for start in (1, 2001, 4001))
    assert [(numbers(text)[0], numbers(text)[-1]) for text in (first, middle, end)] == [(1, 2000), (2001, 4000), (4001, 4501)]
    assert froms(first) == {"Next": 2001, "Last": 4001}
    assert froms(middle) == {"First": 1, "Previous": 1, "Next": 4001, "Last": 4001}
    assert froms(end) == {"First": 1, "Previous": 2001}


def test_an_exact_page_has_no_next(admin_page: Client, running: Build) -> None:
    write(running, *("x" for _ in range(2000)))
    assert froms(read(admin_page, running)) == {}


@pytest.mark.parametrize(
    ("start", "first"),
    [("3", 3), ("0", 1), ("-5", 1), ("x", 1), ("", 1), ("99", 5), ("9" * 5000, 1), ("9999999999", 5), ("²", 1), ("1 OR 1", 1)],
)
def test_from_is_any_text(admin_page: Client, running: Build, start: str, first: int) -> None:
    write(running, *"abcde")
    assert numbers(read(admin_page, running, **{"from": start}))[0] == first


def test_a_line_far_down_is_linked_on_its_page(admin_page: Client, running: Build) -> None:
    Build.objects.update(cause_log_line=4100)
    text = admin_page.get(reverse("admin:builds_build_change", args=[running.pk])).content.decode()
    assert f'href="/admin/builds/build/{running.pk}/log/?from=4001#L4100"' in text


def test_an_empty_log_says_so(admin_page: Client, running: Build) -> None:
    assert "There are no lines yet." in read(admin_page, running)


def test_raw_text_is_streamed_as_it_is_kept(admin_page: Client, running: Build) -> None:
    write(running, *(f"line {number}" for number in range(1, 1202)))
    write(running, SCRIPT, stream="stderr")
    response: Any = admin_page.get(reverse("admin:builds_build_raw_log", args=[running.pk]))
    assert response.streaming
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="job-1-build-1.log"'
    lines = response.getvalue().decode().splitlines()
    assert len(lines) == 1202
    assert re.fullmatch(r"20\S+T\S+\+00:00\tbuild\tstderr\t" + re.escape(SCRIPT), lines[-1])


@pytest.mark.parametrize("name", ["log", "raw_log"])
def test_no_such_build_says_so(admin_page: Client, name: str) -> None:
    response = admin_page.get(reverse(f"admin:builds_build_{name}", args=[uuid4()]))
    assert response.status_code == 404
    assert "There is no such build." in response.content.decode()


def test_a_page_reads_only_its_batches(admin_page: Client, running: Build) -> None:
    for start in range(0, 6000, 500):
        write(running, *(str(number) for number in range(start, start + 500)))
    running.log_batches.filter(first_line__lt=4001).update(records="none of these can be read")
    assert numbers(read(admin_page, running, **{"from": 4001})) == list(range(4001, 6001))
