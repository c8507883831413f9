"""The log of an attempt: the page without scripts, the requests of its script, and the text file."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from builds import lifecycle
from builds.models import Build, LogBatch, Mode
from builds.record import logs
from tests.support import made, written
from tests.support.made import SCRIPT


def address(build: Build, rest: str = "log/") -> str:
    return f"/submissions/{build.submission_id}/attempts/{build.number}/{rest}"


def page(client: Client, build: Build, **query: Any) -> str:
    answer = client.get(address(build), query)
    assert answer.status_code == 200
    return answer.text


def numbers(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'<div class="line[^"]*" id="L(\d+)">', html)]


def ends(html: str) -> tuple[int, int]:
    return numbers(html)[0], numbers(html)[-1]


def stages(html: str) -> list[tuple[str, bool]]:
    """Each stage and whether it is open."""
    return [(name, bool(is_open)) for name, is_open in re.findall(r'<details [^>]*id="stage-(\w+)"[^>]*?( open)?>', html)]


def ask(client: Client, build: Build, rest: str, **query: Any) -> dict[str, Any]:
    answer = client.get(address(build, rest), query)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


# --- the page


def test_without_scripts_every_form_keeps_the_search_text(viewer: Client) -> None:
    html = page(viewer, written.failed(), q='"needle')
    kept = '<input type="hidden" name="q" value="&quot;needle">'
    assert [kept in re.findall(f'<form id="{name}".*?</form>', html, re.DOTALL)[0] for name in ("errors", "place")] == [
        True,
        True,
    ]


def test_stages_show_duration_and_exit_code_and_the_failed_one_is_open(viewer: Client) -> None:
    html = page(viewer, written.failed())
    assert stages(html) == [("fetch", False), ("build", True)]
    assert re.search(r'exit code 2</span> <span>18 lines</span> <span class="stage-time">(&lt;)?0\.\d s</span>', html)
    assert "<span>2 lines</span>" in html
    assert numbers(html) == list(range(1, 21))


def test_lines_before_the_first_stage_have_their_own_section(viewer: Client) -> None:
    build = written.claimed()
    written.write(build, "first")
    assert stages(page(viewer, build)) == [("start", True)]
    written.stage(build, "fetch", ["second"], ends="")
    html = page(viewer, build)
    assert stages(html) == [("start", False), ("fetch", True)]
    assert "Before the first stage" in html


def test_after_a_success_the_build_stage_is_open(viewer: Client) -> None:
    build = written.claimed()
    for name in ("fetch", "unpack", "build", "collect", "deliver"):
        written.stage(build, name, [name])
    lifecycle.succeed(build)
    html = page(viewer, build)
    assert [name for name, is_open in stages(html) if is_open] == ["build"]
    assert "The log ends here." in html


def test_a_failure_opens_near_its_cause(viewer: Client) -> None:
    build = written.failed(lines=3000, cause_line=1500)
    html = page(viewer, build)
    assert ends(html) == (1400, 1899)
    assert written.SHOWN_CAUSE in html
    assert '<a id="cause" class="button" href="?at=1500#L1500">' in html
    assert re.findall(r'<div class="line is-error is-cause" id="L(\d+)">.*?<b class="tag">(\w+)</b>', html) == [("1500", "Cause")]


def test_a_running_log_opens_at_its_end(viewer: Client) -> None:
    build = written.claimed()
    written.fill(build, (str(number) for number in range(1, 2001)))
    html = page(viewer, build)
    assert ends(html) == (1501, 2000)
    assert "New lines appear here." in html


def test_the_log_of_a_waiting_attempt_says_so(viewer: Client) -> None:
    html = page(viewer, made.submitted("waits").newest_build())
    assert "The log starts when a worker takes this attempt." in html
    assert numbers(html) == []


def test_build_output_is_escaped(viewer: Client) -> None:
    build = written.claimed()
    written.write(build, SCRIPT, "javascript:alert(1)", "safe\u202egnp.exe", "\x1b[1;31mred\x1b[0m")
    html = page(viewer, build)
    assert SCRIPT not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "safe\\u202egnp.exe" in html
    assert '<span class="c1 bold">red</span>' in html


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ("1", (1, 500)),
        ("501", (501, 1000)),
        ("1000", (701, 1200)),
        ("0", (1, 500)),
        ("99999999999", (701, 1200)),
        ("²", (701, 1200)),
    ],
)
def test_a_page_starts_with_any_line(viewer: Client, start: str, shown: tuple[int, int]) -> None:
    build = written.failed(lines=1200)
    assert ends(page(viewer, build, **{"from": start})) == shown


def test_pages_link_to_each_other(viewer: Client) -> None:
    build = written.failed(lines=1200)

    def links(start: int) -> dict[str, str]:
        html = page(viewer, build, **{"from": start, "q": "line"})
        nav = html.partition('aria-label="Pages of the log"')[2].partition("</nav>")[0]
        return {words: link for link, words in re.findall(r'href="([^"]*)"[^>]*>([\w ]+)</a>', nav)}

    assert links(1) == {"Later lines": "?q=line&amp;from=501", "End": "?q=line&amp;from=1200"}
    assert links(501) == {
        "Beginning": "?q=line&amp;from=1",
        "Earlier lines": "?q=line&amp;from=1",
        "Later lines": "?q=line&amp;from=1001",
        "End": "?q=line&amp;from=1200",
    }
    assert set(links(701)) == {"Beginning", "Earlier lines"}


def test_display_options_are_remembered(viewer: Client) -> None:
    build = written.failed()
    assert "Elapsed times" in page(viewer, build)
    html = page(viewer, build, times="elapsed", wrap="0")
    assert 'class="log elapsed"' in html and "Clock times" in html
    assert 'class="log elapsed"' in page(viewer, build)
    assert re.search(r">0:0\d\.\d</time>", html)
    page(viewer, build, times="clock", wrap="1")
    assert 'class="log wrap"' in page(viewer, build)


def test_attempts_link_to_each_other(viewer: Client) -> None:
    first = written.failed()
    second = lifecycle.retry(first.submission, mode=Mode.LATEST, actor="ed", reason="")
    assert "Attempt 2</a>" in page(viewer, first)
    assert "Attempt 1</a>" in page(viewer, second)


def test_an_unknown_attempt_is_not_found(viewer: Client) -> None:
    build = written.failed()
    for rest in ("log/", "log/lines/", "log/follow/", "log/search/", "log/go/", "log.txt"):
        assert viewer.get(f"/submissions/{build.submission_id}/attempts/9/{rest}").status_code == 404


@pytest.mark.parametrize("rest", ["log/", "log/lines/", "log/follow/", "log/search/", "log/go/?line=1", "log.txt"])
def test_users_without_a_role_see_no_log(sign_in: Any, rest: str) -> None:
    assert sign_in().get(address(written.failed(), rest)).status_code == 403


def test_long_and_short_logs_need_the_same_queries(viewer: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    short, long = written.failed(name="short"), written.failed(name="long", lines=3000, cause_line=1500)
    page(viewer, short)
    for build in (short, long):
        with django_assert_num_queries(11):
            page(viewer, build)


def test_a_page_reads_only_its_batches(viewer: Client) -> None:
    build = written.claimed()
    written.fill(build, (str(number) for number in range(1, 50_001)))
    build.log_batches.exclude(first_line__range=(20_001, 22_000)).update(records="none of these can be read")
    assert ends(page(viewer, build, **{"from": 20_600})) == (20_600, 21_099)


# --- requests of the script


def test_new_lines_come_with_the_state_of_the_attempt(viewer: Client) -> None:
    build = written.claimed()
    written.stage(build, "fetch", ["one", "two"], ends="")
    answer = ask(viewer, build, "log/lines/", after=1)
    assert (answer["total"], answer["goes_on"], answer["words"], answer["first"]) == (2, True, "running", 2)
    assert numbers("".join(answer["lines"])) == [2]
    (section,) = answer["sections"]
    assert (section["key"], section["first"], section["last"], section["state"]) == ("stage-fetch", 1, 2, "running")
    written.write(build, "three", stage="fetch")
    assert numbers("".join(ask(viewer, build, "log/lines/", after=2)["lines"])) == [3]
    assert ask(viewer, build, "log/lines/", after=3)["lines"] == []
    assert "lines" not in ask(viewer, build, "log/lines/")


def test_a_reader_far_behind_gets_only_the_last_lines(viewer: Client) -> None:
    build = written.claimed()
    written.fill(build, (str(number) for number in range(1, 2001)))
    answer = ask(viewer, build, "log/lines/", after=3)
    assert (answer["first"], len(answer["lines"])) == (1801, 200)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 10, (1, 10)), (1, 5000, (1, 200)), (1990, 5000, (1990, 2000)), (7, 7, (7, 7)), (700, "", (700, 899))],
)
def test_any_lines_can_be_requested(viewer: Client, first: int, last: object, expected: tuple[int, int]) -> None:
    build = written.claimed()
    written.fill(build, (str(number) for number in range(1, 2001)))
    answer = ask(viewer, build, "log/lines/", **{"from": first, "to": last})
    assert ends("".join(answer["lines"])) == expected


def test_missing_lines_are_an_empty_list(viewer: Client) -> None:
    assert ask(viewer, written.failed(), "log/lines/", **{"from": 21, "to": 30})["lines"] == []


def test_the_end_is_reported(viewer: Client) -> None:
    answer = ask(viewer, written.failed(), "log/lines/", after=0)
    assert (answer["goes_on"], answer["words"]) == (False, "failed")
    assert written.SHOWN_CAUSE in answer["end"]


# --- search and places


def test_a_search_returns_the_exact_count(viewer: Client) -> None:
    build = written.failed(lines=3000)
    assert ask(viewer, build, "log/search/", q="LINE") == {
        "total": 2998,
        "before": 0,
        "lines": list(range(3, 2003)),
        "searched": 3000,
        "of": 3000,
        "whole": True,
    }
    answer = ask(viewer, build, "log/search/", q="line", **{"from": 2999})
    assert (answer["before"], answer["lines"]) == (2996, [2999, 3000])
    assert ask(viewer, build, "log/search/", q="absent")["total"] == 0
    assert ask(viewer, build, "log/search/", q="")["total"] == 0


def gone(client: Client, build: Build, **query: Any) -> str:
    answer = client.get(address(build, "log/go/"), query)
    assert answer.status_code == 302
    return answer["Location"].removeprefix(address(build))


def test_without_scripts_forms_lead_to_lines(viewer: Client) -> None:
    build = written.failed(lines=40, cause_line=30)
    LogBatch.objects.filter(build=build, first_line=3).update(
        records="".join(f"1700000000000\tbuild\tstdout\t{'needle' if n in (10, 20) else n}\n" for n in range(3, 41))
    )
    assert gone(viewer, build, q="needle") == "?q=needle&at=10#L10"
    assert gone(viewer, build, q="needle", after=10) == "?q=needle&at=20#L20"
    assert gone(viewer, build, q="needle", after=20) == "?q=needle&at=10#L10"
    assert gone(viewer, build, q="needle", before=20) == "?q=needle&at=10#L10"
    assert gone(viewer, build, q="needle", before=10) == "?q=needle&at=20#L20"
    assert gone(viewer, build, error="", after=0) == "?at=30#L30"
    assert gone(viewer, build, line="12") == "?at=12#L12"
    assert gone(viewer, build, line="L12 - L20") == "?at=12-20#L12"
    assert page(viewer, build, at="12-20").count(" chosen") == 9
    html = page(viewer, build, q="needle", at="20")
    assert "2 of 2 lines" in html and html.count("<mark") == 2


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"q": "absent"}, "No line of this log contains that text."),
        ({"error": ""}, "This log contains no errors."),
        ({"line": "99"}, "This line does not exist: the log has 20 lines."),
        ({"line": "x"}, "This line does not exist: the log has 20 lines."),
        ({"line": "0"}, "This line does not exist: the log has 20 lines."),
    ],
)
def test_a_failed_jump_gives_the_reason(viewer: Client, query: dict[str, str], words: str) -> None:
    assert words in viewer.get(address(written.failed(), "log/go/"), query, follow=True).text


def test_a_long_search_is_answered_in_parts(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time limit of zero each response covers one batch."""
    monkeypatch.setattr("builds.desk.log.views.SEARCH_SECONDS", 0)
    monkeypatch.setattr("builds.desk.log.views.GO_SECONDS", 0)
    build = written.claimed()
    written.fill(build, ["needle" if number in (350, 351, 900) else "x" for number in range(1, 1001)], batch=300)
    assert "0 in the first 300 lines" in page(viewer, build, q="needle")
    answer = ask(viewer, build, "log/search/", q="needle")
    assert answer == {"total": 2, "before": 0, "lines": [350, 351], "searched": 600, "of": 1000, "whole": False}
    assert gone(viewer, build, q="needle", after=351) == "?q=needle&at=900#L900"
    assert ask(viewer, build, "log/search/", q="needle", before=900)["whole"]
    assert gone(viewer, build, q="needle", before=350) == "?q=needle&at=900#L900"


def test_without_scripts_a_long_search_asks_for_another_press(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builds.desk.log.views.GO_SECONDS", 0)
    build = written.claimed()
    written.fill(build, ["x"] * 900 + ["needle"], batch=300)
    assert gone(viewer, build, q="needle", after=200) == "?q=needle&at=200"
    assert (
        "Searched 600 of 901 lines so far. Press the button again to continue."
        in viewer.get(address(build, "log/go/"), {"q": "needle"}, follow=True).text
    )
    assert gone(viewer, build, q="needle", before=5) == "?q=needle&at=901#L901"


# --- as text


def test_the_whole_log_is_a_file(viewer: Client) -> None:
    build = written.failed(lines=1300)
    LogBatch.objects.filter(build=build, first_line=1).update(
        records=f"1700000000123\tfetch\tstderr\t\x1b[31m{SCRIPT}\x1b[0m\n1700000000124\tfetch\tstdout\tb\u202e\n"
    )
    answer: Any = viewer.get(address(build, "log.txt"))
    assert answer.streaming
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="job-1-attempt-1.log"'
    lines = answer.getvalue().decode().splitlines()
    assert len(lines) == 1300
    assert lines[:2] == [
        f"2023-11-14T22:13:20.123Z\tfetch\tstderr\t{SCRIPT}",
        "2023-11-14T22:13:20.124Z\tfetch\tstdout\tb\\u202e",
    ]


def test_a_part_of_the_log_is_a_file(viewer: Client) -> None:
    answer: Any = viewer.get(address(written.failed(), "log.txt"), {"from": 5, "to": 7})
    assert [line.split("\t")[-1] for line in answer.getvalue().decode().splitlines()] == ["line 5", "line 6", "line 7"]


# --- a part of the log is gone


@pytest.mark.parametrize("gone", ["fetch", "build"])
def test_a_part_that_is_gone_leaves_every_other_line_in_its_place_and_stage(viewer: Client, gone: str) -> None:
    build = written.failed()
    build.log_batches.filter(first_line=1 if gone == "fetch" else 3).delete()
    html = page(viewer, build, **{"from": 1})
    assert numbers(html) == list(range(1, 21))
    parts = {name: html.partition(f'id="stage-{name}"')[2].partition("</details>")[0] for name in ("fetch", "build")}
    assert {name: numbers(part) for name, part in parts.items()} == {"fetch": [1, 2], "build": list(range(3, 21))}
    assert {name: part.count(logs.MISSING) for name, part in parts.items()} == {
        "fetch": 2 if gone == "fetch" else 0,
        "build": 18 if gone == "build" else 0,
    }
    answer = ask(viewer, build, "log/lines/", **{"from": 2, "to": 4})
    assert [numbers(line) for line in answer["lines"]] == [[2], [3], [4]]
    text: Any = viewer.get(address(build, "log.txt"))
    assert text.getvalue().decode().count(f"\tmissing\t{logs.MISSING}\n") == (2 if gone == "fetch" else 18)
