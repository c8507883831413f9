"""The log in a real browser: live, followed, linked to any line, and harmless whatever a build writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PATIENCE, Open, pk_of, serious, submit
from tests.e2e.conftest import Service, in_django

expect.set_options(timeout=PATIENCE)

LINES = 100_000
MAX_NODES = 5000
# Gives an existing submission a long log.
FILL = """
from builds.models import Build, LogBatch, Stage
build = Build.objects.get(submission={pk})
LogBatch.objects.filter(build=build).delete()
texts = [f"line {{n}}" + (" needle" if n % 20_000 == 0 else "") + (" figure" if n % 2 else "") for n in range(1, {lines} + 1)]
texts[59_997] = "Error: it broke in line 59998"
texts[79_997] = "Error: it broke in line 79998"
records = [f"{{1_700_000_000_000 + n * 100}}\\tbuild\\tstdout\\t{{text}}\\n" for n, text in enumerate(texts)]
LogBatch.objects.bulk_create(
    LogBatch(build=build, first_line=n + 1, line_count=1000, records="".join(records[n:n + 1000])) for n in range(0, {lines}, 1000)
)
Build.objects.filter(pk=build.pk).update(log_lines={lines}, cause_log_line=None)
for position, stage in enumerate(Stage.objects.filter(build=build)):
    Stage.objects.filter(pk=stage.pk).update(first_log_line=position + 1)
Stage.objects.filter(build=build, name__in=["collect", "deliver"]).delete()
"""
# The numbers of the first and the last visible line, and whether the frame is scrolled to its end.
SEEN = """() => {
  const log = document.getElementById('log'), box = log.getBoundingClientRect()
  const rows = [...log.querySelectorAll('.line')].filter(row => {
    const { top, bottom } = row.getBoundingClientRect()
    return bottom > box.top && top < box.bottom && row.offsetParent
  }).map(row => Number(row.id.slice(1)))
  return { first: rows[0], last: rows.at(-1), atEnd: log.scrollHeight - log.scrollTop - log.clientHeight < 24 }
}"""
HIDE = """isHidden => {
  Object.defineProperty(document, 'hidden', { configurable: true, value: isHidden })
  document.dispatchEvent(new Event('visibilitychange'))
}"""
HOSTILE = r"""
printf '%s\n' '<script>document.title = "pwned"</script><img src=x onerror="document.title=1">' '</bdi></div></details><h1>pwned</h1>'
printf '%s\n' 'javascript:alert(1) http://evil.example/ &lt;b&gt; {{ 7 }}'
printf 'safe\342\200\256gnp.exe \342\201\246x\n'
printf '\033]0;pwned\007\033[2J\033[31;44mcolours\033[0m \033[8mhidden\033[0m \033]8;;http://evil.example\007link\033]8;;\007\n'
printf 'nul \000 bell \007 back \010\010\010 \233 31m\n'
for ground in 40 41 42 43 44 45 46 47 100 101 102 103 104 105 106 107; do
  for ink in 30 31 32 33 34 35 36 37 90 91 92 93 94 95 96 97; do printf '\033[%d;%dmink\033[0m ' $ground $ink; done; echo
done
for ink in 30 31 32 33 34 35 36 37 90 91 92 93 94 95 96 97; do printf 'Error: \033[%dmink\033[0m \033[2mdim\033[0m\n' $ink; done
head -c 16000 /dev/zero | tr '\0' 'x'; echo
head -c 40000 /dev/zero | tr '\0' 'y'; echo
i=0; while [ $i -lt 3000 ]; do printf '\033[3%dmz' $((i % 8)); i=$((i + 1)); done; echo
exit 3
"""


def open_log(page: Page, service: Service, job_id: str, rest: str = "") -> None:
    page.goto(f"/submissions/{pk_of(service, job_id)}/attempts/1/log/{rest}")


class Running:
    """A build that writes each line passed to :meth:`say`, until it is released."""

    def __init__(self, service: Service, job_id: str) -> None:
        self.job_id = job_id
        self._input = service.gates / f"{job_id}.input"
        self._input.touch()
        ends = 'case $line in fail) exit 7;; end) break;; esac; echo "said $line"'
        submit(service, job_id, f"tail -n +1 -f {self._input} | while read -r line; do {ends}; done || exit $?")

    def say(self, *lines: str) -> None:
        with self._input.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


@pytest.fixture
def running(desk: Service, request: pytest.FixtureRequest) -> Iterator[Running]:
    build = Running(desk, f"live-{request.node.name[:40].replace('[', '-').replace(']', '')}".replace("_", "-"))
    desk.wait(build.job_id, "running")
    yield build
    build.say("end")


@pytest.fixture(scope="module")
def long(desk: Service) -> str:
    submit(desk, "log-long", "echo one; exit 3")
    desk.wait("log-long", "failed")
    in_django(desk, FILL.format(pk=pk_of(desk, "log-long"), lines=LINES))
    return "log-long"


def seen(page: Page) -> dict[str, int]:
    found: dict[str, int] = page.evaluate(SEEN)
    return found


def scroll(page: Page, part: float) -> None:
    page.evaluate("part => { const log = document.getElementById('log'); log.scrollTop = part * log.scrollHeight }", part)


# --- live


def test_new_lines_appear_and_are_followed(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("hello")
    expect(page.get_by_text("said hello")).to_be_in_viewport()
    running.say(*(f"number {number}" for number in range(300)))
    expect(page.get_by_text("said number 299")).to_be_in_viewport()
    expect(page.locator("#follow")).to_be_hidden()


def test_a_log_that_grows_fast_is_not_requested_again(desk: Service, open_as: Open, running: Running) -> None:
    """Each answer that goes on has only the newest lines then. A request would get no others, and every reader would make it."""
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("hello")
    expect(page.get_by_text("said hello")).to_be_in_viewport()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    running.say(*(f"number {number}" for number in range(5000)))
    expect(page.get_by_text("said number 4999")).to_be_in_viewport()
    assert not [url for url in requests if "/log/lines/?after=" in url]


def test_scrolling_up_stops_following(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say(*(f"number {number}" for number in range(300)))
    expect(page.get_by_text("said number 299")).to_be_in_viewport()
    page.locator("#log").hover()
    page.mouse.wheel(0, -2000)
    expect(page.locator("#follow")).to_be_visible()
    before = seen(page)
    running.say(*(f"more {number}" for number in range(250)))
    follow = page.get_by_role("button", name="Follow (250 new lines)")
    expect(follow).to_be_visible()
    assert seen(page) == before
    follow.click()
    expect(page.get_by_text("said more 249")).to_be_in_viewport()
    running.say("the last")
    expect(page.get_by_text("said the last")).to_be_in_viewport()


def test_the_end_is_announced_and_a_failed_stage_stays_open(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("hello", "fail")
    expect(page.locator("#log-state")).to_contain_text("failed")
    expect(page.locator("#announcer")).to_have_text("State: failed")
    expect(page.locator("#stage-build > summary")).to_contain_text("exit code 7")
    expect(page.locator("#stage-build")).to_have_attribute("open", "")
    expect(page.locator("#end")).to_contain_text("The log ends here.")
    expect(page.locator("#follow")).to_be_hidden()


def test_a_waiting_attempt_is_followed_from_its_first_line_to_its_end(desk: Service, open_as: Open, running: Running) -> None:
    submit(desk, "log-waits", "echo 'it has begun'")
    page = open_as("viewer")
    open_log(page, desk, "log-waits")
    expect(page.locator("#end")).to_contain_text("The log starts when a worker takes this attempt.")
    running.say("end")
    expect(page.get_by_text("it has begun")).to_be_visible()
    expect(page.locator("#log-state")).to_contain_text("succeeded")
    expect(page.locator(".stage")).to_have_count(5)
    expect(page.locator("#stage-deliver .line").last).to_be_in_viewport()


def test_the_count_of_a_search_grows_with_the_log(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("needle", "straw")
    expect(page.get_by_text("said straw")).to_be_visible()
    page.get_by_role("searchbox", name="Search the log").fill("Needle")
    expect(page.locator("#found")).to_have_text("1 of 1 line")
    running.say("straw", "needle")
    expect(page.locator("#found")).to_have_text("1 of 2 lines")


def test_a_reader_survives_a_killed_web_server(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("before")
    expect(page.get_by_text("said before")).to_be_visible()
    kill_web_server(desk)
    running.say("meanwhile")
    expect(page.get_by_text("said meanwhile")).to_be_in_viewport()
    expect(page.locator("body.no-answer")).not_to_be_attached()
    page.reload()
    running.say("after")
    expect(page.get_by_text("said after")).to_be_in_viewport()
    expect(page.locator("#log .t", has_text="said ")).to_have_text(["said before", "said meanwhile", "said after"])


def kill_web_server(service: Service) -> None:
    assert service.process is not None
    for process in psutil.Process(service.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[2:3] == ["web"]:
                process.kill()


def test_a_hidden_page_asks_for_nothing_until_it_is_shown(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("before")
    expect(page.get_by_text("said before")).to_be_visible()
    with page.expect_event("requestfailed", lambda request: "/log/follow/" in request.url):
        page.evaluate(HIDE, True)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    running.say("meanwhile")
    while "meanwhile" not in desk.log(running.job_id):
        page.wait_for_timeout(100)
    page.wait_for_timeout(1000)
    assert requests == []
    page.evaluate(HIDE, False)
    expect(page.get_by_text("said meanwhile")).to_be_in_viewport()
    expect(page.locator("body.no-answer")).not_to_be_attached()


def test_a_page_says_that_its_reader_is_signed_out(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    open_log(page, desk, running.job_id)
    running.say("before")
    expect(page.get_by_text("said before")).to_be_visible()
    in_django(desk, "from django.contrib.sessions.models import Session\nSession.objects.all().delete()")
    expect(page.locator("body.signed-out")).to_be_attached()


def test_a_page_polls_where_an_answer_that_goes_on_does_not_arrive(desk: Service, open_as: Open, running: Running) -> None:
    page = open_as("viewer")
    page.route("**/log/follow/**", lambda route: route.continue_() if "once=1" in route.request.url else None)
    open_log(page, desk, running.job_id)
    for number in range(2):
        running.say(f"number {number}")
        expect(page.get_by_text(f"said number {number}")).to_be_in_viewport()
    expect(page.locator("body.no-answer")).not_to_be_attached()


# --- places in a long log


def test_a_long_log_scrolls_anywhere_with_few_nodes(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long)
    for part, line in ((0.0, 3), (1.0, LINES), (0.5, LINES // 2), (0.25, LINES // 4), (0.9, LINES * 9 // 10)):
        scroll(page, part)
        page.locator(f"#L{line}").wait_for(state="attached")
        assert page.evaluate("document.querySelectorAll('*').length") < MAX_NODES
    page.locator("#log").hover()
    for _ in range(40):
        page.mouse.wheel(0, 1500)
    assert page.evaluate("document.querySelectorAll('*').length") < MAX_NODES


def test_lines_are_linked_and_selected(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long, "#L70120-L70140")
    expect(page.locator("#L70120")).to_be_in_viewport()
    expect(page.locator(".chosen")).to_have_count(21)
    page.locator("#L70122 .n").click()
    page.locator("#L70125 .n").click(modifiers=["Shift"])
    expect(page.locator(".chosen")).to_have_count(4)
    assert page.url.endswith("#L70122-L70125")
    page.get_by_label("Line", exact=True).fill("500")
    page.get_by_role("button", name="Go").click()
    expect(page.locator("#L500.chosen")).to_be_in_viewport()
    page.reload()
    expect(page.locator("#L500.chosen")).to_be_in_viewport()


def test_a_linked_line_stays_in_place_when_other_lines_come_late(desk: Service, open_as: Open, long: str) -> None:
    """The page starts at another place and requests lines for it while those of the link are on their way."""
    held: list[Route] = []
    page = open_as("viewer")
    page.route("**/lines/?from=*", lambda route: route.continue_() if "from=69" in route.request.url else held.append(route))
    open_log(page, desk, long, "#L70000-L70005")
    expect(page.locator("#L70000.chosen")).to_be_in_viewport()
    rows = page.locator("#stage-build .line")
    before = seen(page), rows.first.get_attribute("id")
    assert held
    for route in held:
        with page.expect_response(route.request.url):
            route.continue_()
    page.wait_for_timeout(500)
    assert (seen(page), rows.first.get_attribute("id")) == before


def test_times_are_in_the_readers_time_zone_on_a_phone_too(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer", viewport={"width": 360, "height": 740}, timezone_id="America/New_York")
    open_log(page, desk, long, "#L500")
    time = page.locator("#L500 time")
    expect(time).to_be_in_viewport()
    expect(time).to_have_text("17:14:09")
    page.get_by_role("button", name="Elapsed times").click()
    expect(time).to_be_visible()
    expect(time).not_to_have_text("17:14:09")
    expect(time).to_have_attribute("title", "2023-11-14 22:14:09.900 UTC")


def test_a_reload_returns_to_its_place(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long)
    scroll(page, 0.3)
    page.locator(f"#L{LINES * 3 // 10}").wait_for(state="attached")
    page.get_by_role("link", name="Elapsed times").or_(page.get_by_role("button", name="Elapsed times")).click()
    while not page.evaluate("history.state?.place"):
        page.wait_for_timeout(50)
    place = page.evaluate("history.state.place.line")
    page.reload()
    expect(page.locator(f"#L{place}")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Clock times")).to_be_visible()


def test_the_search_counts_all_matches_and_wraps_around(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long, "?from=1")
    field = page.get_by_role("searchbox", name="Search the log")
    field.fill("NEEDLE")
    for place, line in ((1, 20_000), (2, 40_000), (3, 60_000)):
        expect(page.locator("#found")).to_have_text(f"{place} of 5 lines")
        expect(page.locator(f"#L{line} .mark")).to_be_in_viewport()
        field.press("Enter")
    expect(page.locator("#found")).to_have_text("4 of 5 lines")
    page.get_by_role("button", name="Previous match").click()
    expect(page.locator("#found")).to_have_text("3 of 5 lines")
    for place in (4, 5, 1):
        page.get_by_role("button", name="Next match").click()
        expect(page.locator("#found")).to_have_text(f"{place} of 5 lines")
    field.fill("figure")
    expect(page.locator("#found")).to_have_text(re.compile(r"^[\d,]+ of 50,000 lines$"))
    field.fill("nothing like it")
    expect(page.locator("#found")).to_have_text("Not found")
    expect(page.locator("#announcer")).to_have_text("Not found")


def test_a_search_in_parts_reaches_the_exact_count(desk: Service, open_as: Open, long: str) -> None:
    """The server first answers for a part of the log, as it does if a search takes longer than half a second."""
    page = open_as("viewer")
    open_log(page, desk, long, "?from=1")
    pieces = [10_000, 25_000, 50_000]

    def piece(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        if pieces:
            found |= {"searched": pieces.pop(0), "whole": False}
            found["lines"] = [line for line in found["lines"] if line <= found["searched"]]
            found["total"] = len(found["lines"])
        route.fulfill(response=answer, json=found)

    page.route("**/log/search/*", piece)
    page.evaluate(
        "new MutationObserver(() => (window.results ??= []).push(found.textContent)).observe(found, { childList: true })"
    )
    page.get_by_role("searchbox", name="Search the log").fill("needle")
    expect(page.locator("#found")).to_have_text("1 of 5 lines")
    expect(page.locator("#L20000 .mark")).to_be_in_viewport()
    results = page.evaluate("window.results")
    assert results == [
        "Searching…",
        "Searching, 10 %…",
        "1 of 1 so far, searching, 25 %…",
        "1 of 2 so far, searching, 50 %…",
        "1 of 5 lines",
    ]


def test_errors_are_found_one_after_the_other(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long, "?from=1")
    button = page.get_by_role("button", name="Next error")
    for place, line in ((1, 59_998), (2, 79_998), (1, 59_998)):
        button.click()
        expect(page.locator(f"#L{line}.is-error")).to_be_in_viewport()
        expect(button).to_have_text(f"Next error ({place} of 2)")


def test_everything_works_by_keyboard(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer")
    open_log(page, desk, long, "?from=1")
    page.locator("#log").focus()
    page.keyboard.press("e")
    expect(page.locator("#L59998")).to_be_in_viewport()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.locator("#found")).to_have_text("3 of 5 lines")
    page.locator("#log").focus()
    page.keyboard.press("n")
    expect(page.locator("#found")).to_have_text("4 of 5 lines")
    page.keyboard.press("g")
    page.keyboard.type("7-9\n")
    expect(page.locator(".chosen")).to_have_count(3)
    page.locator("#stage-build > summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#L7")).to_be_hidden()


# --- build output is untrusted


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_hostile_log_is_harmless_and_accessible(desk: Service, open_as: Open, theme: str, width: int) -> None:
    job_id = "log-hostile"
    if desk.call("GET", f"/{job_id}").status_code == 404:
        submit(desk, job_id, HOSTILE, title="On hostile logs")
        desk.wait(job_id, "failed")
    page = open_as("viewer", color_scheme=theme, viewport={"width": width, "height": 800})
    open_log(page, desk, job_id, "?at=3-40&q=ink")
    expect(page.locator("#log")).to_contain_text('<script>document.title = "pwned"</script>')
    expect(page.locator("#log")).to_contain_text("safe\\u202egnp.exe")
    expect(page).to_have_title("Log of attempt 1 of On hostile logs · Jobsite")
    assert page.locator("#log h1, #log img, #log script").count() == 0
    links = page.evaluate("[...document.querySelectorAll('#log a')].map(link => link.href)")
    assert {link.partition("#")[0].partition("?")[0].rpartition("/log")[2] for link in links} <= {"/", ".txt"}
    assert page.evaluate("document.querySelectorAll('*').length") < MAX_NODES
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page) == []


# --- without scripts


def test_without_scripts_there_are_pages_forms_and_links(desk: Service, open_as: Open, long: str) -> None:
    page = open_as("viewer", java_script_enabled=False)
    open_log(page, desk, long, "?from=1")
    pages = page.get_by_role("navigation", name="Pages of the log").first
    expect(pages).to_contain_text("Lines 1 to 500 of 100,000. Times are in UTC.")
    pages.get_by_role("link", name="Later lines").click()
    expect(page.locator("#L501")).to_be_visible()
    page.get_by_role("searchbox", name="Search the log").fill("needle")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#L20000 .mark")).to_be_in_viewport()
    expect(page.locator("#found")).to_have_text("1 of 5 lines")
    page.get_by_role("button", name="Next match").click()
    expect(page.locator("#L40000 .mark")).to_be_in_viewport()
    page.get_by_role("button", name="Next error").click()
    expect(page.locator("#L59998")).to_be_in_viewport()
    page.get_by_label("Line", exact=True).fill("120-140")
    page.get_by_role("button", name="Go").click()
    expect(page.locator("#L120")).to_be_in_viewport()
    page.get_by_role("link", name="Elapsed times").click()
    expect(page.get_by_role("link", name="Clock times")).to_be_visible()
    page.locator("#stage-build > summary").click()
    expect(page.locator("#L120")).to_be_hidden()


def test_the_download_is_the_whole_log(desk: Service, open_as: Open, long: str, tmp_path: Path) -> None:
    page = open_as("viewer")
    open_log(page, desk, long)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download", exact=True).click()
    download.value.save_as(tmp_path / "log")
    assert len((tmp_path / "log").read_text().splitlines()) == LINES
