"""The log of one attempt: a page of it, what its script asks for while it is read, the search, and the whole as text.

The page works without a script: it shows some hundred lines from a line on, and forms and links lead to others. The script asks for
lines by number, and again and again for those that are new; so it needs nothing to be kept of a reader here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from builds import logs, logs_search
from builds.desk.access import desk_page
from builds.desk.log_lines import Look, as_text, rows
from builds.desk.log_sections import PAGE_LINES, Section, first_shown, opened, sections, within
from builds.models import UNFINISHED, Build, State

CHUNK_LINES = 200
LONGEST_SEARCH = 200
LINES_ABOVE = 20
LOOK_COOKIE = "log-look"
COOKIE_SECONDS = 365 * 24 * 3600
TEXT_LINES = 500
# For so long a search keeps a thread of the web server; what is left of the log is looked through when it is asked again.
SEARCH_SECONDS = 0.5
GO_SECONDS = 2.0
NUMBER = re.compile(r"[0-9]{1,9}")
PLACE = re.compile(r"L?([0-9]{1,9})(?:\s*[-–]\s*L?([0-9]{1,9}))?")


def _build(pk: int, number: int) -> Build:
    return get_object_or_404(Build.objects.select_related("submission"), submission=pk, number=number)


def _number(request: HttpRequest, name: str) -> int | None:
    """A line's number of the query; None where there is none."""
    text = request.GET.get(name, "")
    return int(text) if NUMBER.fullmatch(text) else None


def _look(request: HttpRequest, build: Build) -> Look:
    """How this reader wants to see lines: as the query says, else as it was chosen before."""
    kept = request.COOKIES.get(LOOK_COOKIE, "").split(".")
    times, wrap = request.GET.get("times"), request.GET.get("wrap")
    return Look(
        start=build.started_at or build.created_at,
        download=_address("text", build),
        elapsed=times == "elapsed" if times else "elapsed" in kept,
        wrap=wrap != "0" if wrap else "nowrap" not in kept,
        q=request.GET.get("q", "")[:LONGEST_SEARCH],
        chosen=_lines_of(request.GET.get("at", "")),
        cause=build.cause_log_line if build.state == State.FAILED else None,
    )


def _lines_of(place: str) -> range:
    """The lines that a place names, such as ``120``, ``L120`` or ``120-140``."""
    found = PLACE.fullmatch(place.strip())
    first = int(found[1]) if found else 0
    return range(first, max(int(found[2] or first), first) + 1) if found and first else range(0)


def _address(name: str, build: Build) -> str:
    return reverse(f"desk:log-{name}" if name else "desk:log", args=[build.submission_id, build.number])


# --- the page


@require_safe
@desk_page()
def log_page(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    build = _build(pk, number)
    look = _look(request, build)
    response = render(request, "desk/log.html", _context(request, build, look))
    if request.GET.keys() & {"times", "wrap"}:
        kept = ".".join(["elapsed"] * look.elapsed + ["nowrap"] * (not look.wrap))
        response.set_cookie(LOOK_COOKIE, kept, max_age=COOKIE_SECONDS, path="/submissions/", samesite="Lax")
    return response


def _context(request: HttpRequest, build: Build, look: Look) -> dict[str, Any]:
    parts = sections(build, list(build.stages.all()))
    at = look.chosen.start
    asked = at - LINES_ABOVE if at else _number(request, "from")
    first = within(build, asked) if asked is not None else first_shown(build, parts)
    last = min(first + PAGE_LINES - 1, build.log_lines)
    lines = list(rows(logs.read(build, first, last), look)) if build.log_lines else []
    wanted = at or (first if asked is not None else None)
    return {
        **_status(build, parts),
        "submission": build.submission,
        "look": look,
        "shown": [_Shown(part, first, lines, is_open=_is_open(build, part, parts, wanted)) for part in parts],
        "first": first,
        "last": last,
        "at": at,
        "found": _found(build, look.q, at or first) if look.q and build.log_lines else None,
        "newest": Build.objects.filter(submission=build.submission_id).aggregate(Max("number"))["number__max"],
        "links": _links(build, look, first, last),
    }


def _found(build: Build, q: str, start: int) -> dict[str, Any]:
    search = logs_search.find(build, q)
    is_whole = search.go_on(build.log_lines, seconds=SEARCH_SECONDS)
    return {"hits": search.hits(start=start), "is_whole": is_whole, "searched": search.searched}


class _Shown:
    """A section as the page begins with it: with those of its lines that are on it."""

    def __init__(self, section: Section, first: int, lines: list[str], *, is_open: bool) -> None:
        self.section, self.is_open = section, is_open
        self.first = max(section.first, first)
        self.last = min(section.last, first + len(lines) - 1)
        self.html = mark_safe("".join(lines[self.first - first : max(self.last - first + 1, 0)]))  # noqa: S308 - rows() escapes


def _is_open(build: Build, part: Section, parts: list[Section], wanted: int | None) -> bool:
    return part.holds(wanted) if wanted and wanted <= build.log_lines else part.key == opened(build, parts)


def _links(build: Build, look: Look, first: int, last: int) -> dict[str, str]:
    """Where the page's links lead, with what is looked for kept."""

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


# --- what the script asks for


@require_safe
@desk_page()
def lines(request: HttpRequest, pk: int, number: int) -> JsonResponse:
    """How the build stands, and lines: ``from`` a number on (``to`` another), or the last ones of those ``after`` a number."""
    build = _build(pk, number)
    first, last, after = (_number(request, name) for name in ("from", "to", "after"))
    if after is not None:
        first, last = max(after + 1, build.log_lines - CHUNK_LINES + 1), build.log_lines
    answer = _status(build, sections(build, list(build.stages.all())))
    answer = {
        "total": build.log_lines,
        "goes_on": answer["goes_on"],
        "words": answer["words"],
        "state": render_to_string("desk/_log_state.html", answer),
        "end": render_to_string("desk/_log_end.html", answer),
        "sections": [_section(section) for section in answer["sections"]],
    }
    if first:
        last = min(last or first + CHUNK_LINES, first + CHUNK_LINES - 1, build.log_lines)
        found = rows(logs.read(build, first, last), _look(request, build)) if first <= last else ()
        answer |= {"first": first, "lines": list(found)}
    return JsonResponse(answer)


def _status(build: Build, parts: list[Section]) -> dict[str, Any]:
    asked_to_end = build.cancel_requested_at and build.state in UNFINISHED
    return {
        "build": build,
        "sections": parts,
        "goes_on": build.state in UNFINISHED,
        "words": "being cancelled" if asked_to_end else build.state,
        "has_failed": build.state == State.FAILED,
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "key": section.key,
        "first": section.first,
        "last": section.last,
        "state": section.state,
        "summary": render_to_string("desk/_log_stage.html", {"section": section}),
    }


# --- search


def _search(request: HttpRequest, build: Build) -> logs_search.Search | None:
    """The search for what is asked for: the lines with an error, or with a text. None where that is nothing."""
    q = request.GET.get("q", "")[:LONGEST_SEARCH]
    if "error" in request.GET:
        return logs_search.find_errors(build)
    return logs_search.find(build, q) if q else None


@require_safe
@desk_page()
def search(request: HttpRequest, pk: int, number: int) -> JsonResponse:
    """How many lines are found in as much of the log as could be looked through by now, and the numbers of those ``from`` a line on,
    or ``before`` one. To be asked again until it is the whole."""
    build = _build(pk, number)
    asked = _search(request, build)
    if asked is None:
        return JsonResponse(
            {"total": 0, "before": 0, "lines": [], "searched": build.log_lines, "of": build.log_lines, "whole": True}
        )
    is_whole = asked.go_on(build.log_lines, seconds=SEARCH_SECONDS)
    hits = asked.hits(start=_number(request, "from") or 1, before=_number(request, "before"))
    answer = {"total": hits.total, "before": hits.before, "lines": hits.lines}
    return JsonResponse({**answer, "searched": asked.searched, "of": build.log_lines, "whole": is_whole})


@require_safe
@desk_page()
def go(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """To a line by its number or a range, or to the next or previous one that is found; from the end it goes on at the beginning."""
    build = _build(pk, number)
    query = {"q": q} if (q := request.GET.get("q", "")[:LONGEST_SEARCH]) else {}
    target, problem = _target(request, build)
    if not target:
        messages.info(request, problem)
        if after := _number(request, "after"):
            query |= {"at": str(after)}
        return redirect(f"{_address('', build)}?{urlencode(query)}")
    return redirect(f"{_address('', build)}?{urlencode({**query, 'at': target})}#L{target.partition('-')[0]}")


def _target(request: HttpRequest, build: Build) -> tuple[str, str]:
    """A line, or a range of lines, for the address; with none a sentence that says why."""
    if place := request.GET.get("line", ""):
        return _place(_lines_of(place), build)
    asked = _search(request, build)
    if asked is None:
        return "", "There is nothing to look for."
    is_whole = asked.go_on(build.log_lines, seconds=GO_SECONDS)
    if line := _next(asked, _number(request, "after") or 0, _number(request, "before"), is_whole=is_whole):
        return str(line), ""
    if not is_whole:
        return "", f"{asked.searched:,} of {build.log_lines:,} lines have been looked through so far. Press it again to go on."
    return "", "No line of this log tells of an error." if "error" in request.GET else "No line of this log holds that."


def _next(asked: logs_search.Search, after: int, before: int | None, *, is_whole: bool) -> int | None:
    """The next line that is found, or the one ``before`` a line; round about only once the whole has been looked through."""
    if before is not None:
        is_known = is_whole or asked.searched >= before - 1
        found = asked.hits(before=before).lines if is_known else []
        found = found or (asked.hits(before=asked.searched + 1).lines if is_whole else [])
        return found[-1] if found else None
    found = asked.hits(start=after + 1).lines or (asked.hits().lines if is_whole else [])
    return found[0] if found else None


def _place(lines: range, build: Build) -> tuple[str, str]:
    if lines.start not in range(1, build.log_lines + 1):
        return "", f"There is no such line: this log has {build.log_lines:,} lines."
    return f"{lines.start}-{lines[-1]}" if len(lines) > 1 else f"{lines.start}", ""


# --- as text


@require_safe
@desk_page()
def text(request: HttpRequest, pk: int, number: int) -> StreamingHttpResponse:
    """The log, or the lines ``from`` a number ``to`` another, for a file."""
    build = _build(pk, number)
    found = logs.read(build, _number(request, "from") or 1, _number(request, "to"))
    response = StreamingHttpResponse(_some_at_a_time(map(as_text, found)), content_type="text/plain; charset=utf-8")
    name = f"{build.submission.job_id}-attempt-{build.number}.log"
    response["Content-Disposition"] = content_disposition_header(True, name)
    return response


def _some_at_a_time(texts: Iterator[str]) -> Iterator[str]:
    while chunk := "".join(islice(texts, TEXT_LINES)):
        yield chunk
