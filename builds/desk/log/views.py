"""The log of one attempt: the page, the lines and searches that its script requests, and the whole log as text.

The page works without a script: it shows several hundred lines, and forms and links lead to the others. The script requests lines by
number, and follows a running attempt by one streaming response (docs/decisions/live-log.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import content_disposition_header
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET, require_safe

from builds.desk.access import StaffRequest, desk_page
from builds.desk.log import live
from builds.desk.log.answers import (
    CHUNK_LINES,
    Progress,
    address,
    default_look,
    describe,
    describe_lines,
    describe_status,
    encode,
    find_new_lines,
)
from builds.desk.log.lines import Look, format_as_text, render_lines
from builds.desk.log.sections import PAGE_LINES, Section, choose_first_line, find_open_key, find_sections, fit_start
from builds.models import Build
from builds.record import log_search, logs

MAX_SEARCH_CHARACTERS = 200
LINES_ABOVE = 20
LOOK_COOKIE = "log-look"
COOKIE_SECONDS = 365 * 24 * 3600
LINES_PER_CHUNK = 500
# How long one request may search, because it occupies a thread of the web server. The next request continues the search.
SEARCH_SECONDS = 0.5
GO_SECONDS = 2.0
NUMBER = re.compile(r"[0-9]{1,9}")
PLACE = re.compile(r"L?([0-9]{1,9})(?:\s*[-–]\s*L?([0-9]{1,9}))?")


def _get_build(pk: int, number: int) -> Build:
    return get_object_or_404(Build.objects.select_related("submission"), submission=pk, number=number)


def _read_number(request: HttpRequest, name: str) -> int | None:
    """A line number from the query string; None if it is missing or invalid."""
    text = request.GET.get(name, "")
    return int(text) if NUMBER.fullmatch(text) else None


def _read_look(request: HttpRequest, build: Build) -> Look:
    """How to show lines to this reader: as the query string says, else as the cookie says."""
    kept = request.COOKIES.get(LOOK_COOKIE, "").split(".")
    times, wrap = request.GET.get("times"), request.GET.get("wrap")
    return replace(
        default_look(build),
        elapsed=times == "elapsed" if times else "elapsed" in kept,
        wrap=wrap != "0" if wrap else "nowrap" not in kept,
        q=request.GET.get("q", "")[:MAX_SEARCH_CHARACTERS],
        chosen=_parse_place(request.GET.get("at", "")),
    )


def _parse_place(place: str) -> range:
    """The lines of a place such as ``120``, ``L120`` or ``120-140``; empty if it is invalid."""
    found = PLACE.fullmatch(place.strip())
    first = int(found[1]) if found else 0
    return range(first, max(int(found[2] or first), first) + 1) if found and first else range(0)


# --- the page


@require_safe
@desk_page()
def log_page(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    build = _get_build(pk, number)
    look = _read_look(request, build)
    response = render(request, "desk/log.html", _make_context(request, build, look))
    if request.GET.keys() & {"times", "wrap"}:
        kept = ".".join(["elapsed"] * look.elapsed + ["nowrap"] * (not look.wrap))
        response.set_cookie(LOOK_COOKIE, kept, max_age=COOKIE_SECONDS, path="/submissions/", samesite="Lax")
    return response


def _make_context(request: HttpRequest, build: Build, look: Look) -> dict[str, Any]:
    parts = find_sections(build, list(build.stages.all()))
    at = look.chosen.start
    asked = at - LINES_ABOVE if at else _read_number(request, "from")
    first = fit_start(build, asked) if asked is not None else choose_first_line(build, parts)
    last = min(first + PAGE_LINES - 1, build.log_lines)
    lines = list(render_lines(logs.read(build, first, last), look)) if build.log_lines else []
    wanted = at or (first if asked is not None else None)
    return {
        **describe_status(build, parts),
        "submission": build.submission,
        "gone": logs.lines_gone(build),
        "kept_days": settings.LOGS_KEPT_DAYS,
        "look": look,
        "shown": [_ShownSection(part, first, lines, is_open=_is_open(build, part, parts, wanted)) for part in parts],
        "first": first,
        "last": last,
        "at": at,
        "found": _search_page(build, look.q, at or first) if look.q and build.log_lines else None,
        "newest": Build.objects.filter(submission=build.submission_id).aggregate(Max("number"))["number__max"],
        "links": _make_links(build, look, first, last),
    }


def _search_page(build: Build, q: str, start: int) -> dict[str, Any]:
    search = log_search.find(build, q)
    is_whole = search.advance(build.log_lines, seconds=SEARCH_SECONDS)
    return {"hits": search.hits(start=start), "is_whole": is_whole, "searched": search.searched}


class _ShownSection:
    """A section with those of its lines that are in the first response."""

    def __init__(self, section: Section, first: int, lines: list[str], *, is_open: bool) -> None:
        self.section, self.is_open = section, is_open
        self.first = max(section.first, first)
        self.last = min(section.last, first + len(lines) - 1)
        self.html = mark_safe("".join(lines[self.first - first : max(self.last - first + 1, 0)]))  # noqa: S308 - render_lines() escapes


def _is_open(build: Build, part: Section, parts: list[Section], wanted: int | None) -> bool:
    return part.holds(wanted) if wanted and wanted <= build.log_lines else part.key == find_open_key(build, parts)


def _make_links(build: Build, look: Look, first: int, last: int) -> dict[str, str]:
    """The addresses of the page's links, with the search text kept."""

    def query(**values: Any) -> str:
        return "?" + urlencode({**({"q": look.q} if look.q else {}), **values})

    links = {
        "times": query(times="clock" if look.elapsed else "elapsed", **{"from": first}),
        "wrap": query(wrap=0 if look.wrap else 1, **{"from": first}),
    }
    if first > 1:
        links |= {"beginning": query(**{"from": 1}), "earlier": query(**{"from": max(first - PAGE_LINES, 1)})}
    if last < build.log_lines:
        links |= {"later": query(**{"from": last + 1}), "end": query(**{"from": build.log_lines})}
    if build.cause_log_line:
        links["cause"] = f"{query(at=build.cause_log_line)}#L{build.cause_log_line}"
    return links


# --- requests of the script


@require_safe
@desk_page()
def log_lines(request: HttpRequest, pk: int, number: int) -> JsonResponse:
    """The attempt's state and lines: those ``from`` a number (``to`` another), or the last of those ``after`` a number."""
    build = _get_build(pk, number)
    first, last, after = (_read_number(request, name) for name in ("from", "to", "after"))
    if after is not None:
        first, last = find_new_lines(build, after)
    answer = describe(build, list(build.stages.all()))
    if first:
        last = min(last or first + CHUNK_LINES, first + CHUNK_LINES - 1, build.log_lines)
        answer |= describe_lines(build, first, last, _read_look(request, build))
    return JsonResponse(answer)


@require_GET
@desk_page()
def follow_log(request: StaffRequest, pk: int, number: int) -> StreamingHttpResponse:
    """A streaming response: the attempt's state, with the lines ``after`` a number, and then every change until the attempt ends.

    Each is a line of JSON as of :func:`log_lines`. The answer ends after the first one where the web server cannot go on, or if ``once``
    is in the query string: the script then asks again.
    """
    build = _get_build(pk, number)
    stages = list(build.stages.all())
    answer, after = describe(build, stages), _read_number(request, "after")
    if after is not None:
        first, last = find_new_lines(build, after)
        answer |= describe_lines(build, first, last, _read_look(request, build))
    response = StreamingHttpResponse([encode(answer)], content_type="application/x-ndjson")
    response["X-Accel-Buffering"] = "no"  # for nginx
    if answer["goes_on"] and "once" not in request.GET:
        live.go_on(request, build, Progress.of(build, stages))
    return response


# --- search


def _get_search(request: HttpRequest, build: Build) -> log_search.Search | None:
    """The search that the query string asks for: lines with an error, or lines with a text. None if it asks for nothing."""
    q = request.GET.get("q", "")[:MAX_SEARCH_CHARACTERS]
    if "error" in request.GET:
        return log_search.find_errors(build)
    return log_search.find(build, q) if q else None


@require_safe
@desk_page()
def search_log(request: HttpRequest, pk: int, number: int) -> JsonResponse:
    """How many lines match in the part of the log searched so far, and the numbers of those ``from`` a line or ``before`` one.

    The script repeats the request until ``whole`` is true.
    """
    build = _get_build(pk, number)
    asked = _get_search(request, build)
    if asked is None:
        return JsonResponse(
            {"total": 0, "before": 0, "lines": [], "searched": build.log_lines, "of": build.log_lines, "whole": True}
        )
    is_whole = asked.advance(build.log_lines, seconds=SEARCH_SECONDS)
    hits = asked.hits(start=_read_number(request, "from") or 1, before=_read_number(request, "before"))
    answer = {"total": hits.total, "before": hits.before, "lines": hits.lines}
    return JsonResponse({**answer, "searched": asked.searched, "of": build.log_lines, "whole": is_whole})


@require_safe
@desk_page()
def go_to_line(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """Redirect to a line or range by number, or to the next or previous match. The search wraps around at both ends."""
    build = _get_build(pk, number)
    query = {"q": q} if (q := request.GET.get("q", "")[:MAX_SEARCH_CHARACTERS]) else {}
    target, problem = _find_target(request, build)
    if not target:
        messages.info(request, problem)
        if after := _read_number(request, "after"):
            query |= {"at": str(after)}
        return redirect(f"{address('', build)}?{urlencode(query)}")
    return redirect(f"{address('', build)}?{urlencode({**query, 'at': target})}#L{target.partition('-')[0]}")


def _find_target(request: HttpRequest, build: Build) -> tuple[str, str]:
    """The line or range to go to, and an empty sentence; or an empty target and a sentence that says why."""
    if place := request.GET.get("line", ""):
        return _check_place(_parse_place(place), build)
    asked = _get_search(request, build)
    if asked is None:
        return "", "Enter a text to search for."
    is_whole = asked.advance(build.log_lines, seconds=GO_SECONDS)
    if line := _find_next(asked, _read_number(request, "after") or 0, _read_number(request, "before"), is_whole=is_whole):
        return str(line), ""
    if not is_whole:
        return "", f"Searched {asked.searched:,} of {build.log_lines:,} lines so far. Press the button again to continue."
    return "", "This log contains no errors." if "error" in request.GET else "No line of this log contains that text."


def _find_next(asked: log_search.Search, after: int, before: int | None, *, is_whole: bool) -> int | None:
    """The next match, or the previous one ``before`` a line. Wraps around only once the whole log has been searched."""
    if before is not None:
        is_known = is_whole or asked.searched >= before - 1
        found = asked.hits(before=before).lines if is_known else []
        found = found or (asked.hits(before=asked.searched + 1).lines if is_whole else [])
        return found[-1] if found else None
    found = asked.hits(start=after + 1).lines or (asked.hits().lines if is_whole else [])
    return found[0] if found else None


def _check_place(lines: range, build: Build) -> tuple[str, str]:
    if lines.start not in range(1, build.log_lines + 1):
        return "", f"This line does not exist: the log has {build.log_lines:,} lines."
    return f"{lines.start}-{lines[-1]}" if len(lines) > 1 else f"{lines.start}", ""


# --- as text


@require_safe
@desk_page()
def log_text(request: HttpRequest, pk: int, number: int) -> StreamingHttpResponse:
    """Download the log, or its lines ``from`` one number ``to`` another, as text."""
    build = _get_build(pk, number)
    found = logs.read(build, _read_number(request, "from") or 1, _read_number(request, "to"))
    response = StreamingHttpResponse(_in_chunks(map(format_as_text, found)), content_type="text/plain; charset=utf-8")
    name = f"{build.submission.job_id}-attempt-{build.number}.log"
    response["Content-Disposition"] = content_disposition_header(True, name)
    return response


def _in_chunks(texts: Iterator[str]) -> Iterator[str]:
    while chunk := "".join(islice(texts, LINES_PER_CHUNK)):
        yield chunk
