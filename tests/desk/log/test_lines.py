"""Lines of a log as HTML: build output becomes coloured text and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builds.desk.log.colours import split_pieces
from builds.desk.log.lines import MAX_PIECES, MAX_SHOWN_CHARACTERS, Look, format_as_text, format_elapsed, render_lines
from builds.lib.text import COLOUR, visible
from builds.record.logs import LogLine

AT = datetime(2026, 11, 24, 12, 0, 7, 300_000, tzinfo=UTC)
LOOK = Look(start=AT - timedelta(seconds=67))
ELEMENTS = {"div", "a", "time", "b", "bdi", "span", "mark"}
ATTRIBUTES = {"class", "id", "href", "tabindex", "datetime", "dir"}
# What a hostile build could write, in any order.
TRICKS = (
    *(
        "<script>",
        "</bdi></div>",
        "<img src=x onerror=alert(1)>",
        "javascript:alert(1)",
        "&lt;",
        '"',
        "'",
        "style=",
        "{{ 1 }}",
        "{% if %}",
    ),
    *(
        "\x1b[31m",
        "\x1b[0m",
        "\x1b[38;5;",
        "\x1b[38;2;1;2;999m",
        "\x1b[",
        "\x1b]8;;http://evil\x07",
        "\x1b[8m",
        "\x1b[99999m",
        "\x1b[4:3m",
    ),
    *(
        "\u202e",
        "\u2066",
        "\u200f",
        "\u2028",
        "\x00",
        "\x07",
        "\x9b31m",
        "\r",
        "\t",
        "needle",
        "NEEDLE",
        "a\u0301",
        "🎉",
        "\ud83d",
    ),
)
TEXTS = st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=8)), max_size=30).map(
    lambda parts: "".join(parts).replace("\n", " ")
)


class Reader(HTMLParser):
    """Parses a line as a browser would: its elements, their attributes and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.marked = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "bdi" in self._open and "a" not in self._open[1:]:
            self.text += data
        if "mark" in self._open:
            self.marked += data


def line(text: str, stream: str = "stdout", number: int = 7) -> LogLine:
    return LogLine(number, AT, "build", stream, text)


def shown(text: str, stream: str = "stdout", look: Look = LOOK) -> str:
    (html,) = render_lines([line(text, stream)], look)
    return html


@pytest.mark.slow
@given(
    TEXTS, st.sampled_from(["stdout", "stderr", "service", "warning", "other"]), st.sampled_from(["", "needle", "<", "e", "\x1b"])
)
def test_no_text_becomes_markup_a_link_or_a_control_character(text: str, stream: str, q: str) -> None:
    html = shown(text, stream, Look(start=AT, download="/x/log.txt", q=q))
    read = Reader(html)
    assert set(read.tags) <= ELEMENTS
    assert {name for name, _ in read.attributes} <= ATTRIBUTES
    assert [value for name, value in read.attributes if name == "href"] == ["#L7"]
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", html)


@given(TEXTS)
def test_all_text_except_colour_codes_is_shown_in_order(text: str) -> None:
    plain = COLOUR.sub("", text)
    assert "".join(piece.text for piece in split_pieces(text, 1000)) == plain
    assert Reader(shown(text)).text == visible(plain)


@given(TEXTS)
def test_a_line_of_the_file_is_safe_on_a_terminal(text: str) -> None:
    written = format_as_text(line(text))
    assert written.count("\n") == 1 and written.endswith("\n")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("31", "c1"),
        ("1;31", "c1 bold"),
        ("97", "c15"),
        ("41;30", "c0 g1"),
        ("107", "g15"),
        ("38;5;9", "c9"),
        ("38;5;21", "c4"),
        ("38;5;240", "c8"),
        ("48;5;255", "g7"),
        ("38;2;250;5;5", "c9"),
        ("38;5", ""),
        ("38;5;999", ""),
        ("3;4;7;9", "inverse italic strike underline"),
        ("8", ""),
        ("5", ""),
        ("31;39", ""),
        ("1;22", ""),
        ("31;0", ""),
        ("", ""),
        ("²", None),
    ],
)
def test_colour_codes_become_classes(codes: str, classes: str | None) -> None:
    body = shown(f"\x1b[{codes}mx").partition('dir="ltr">')[2].removesuffix("</bdi></div>")
    if classes is None:
        assert body == f"\\u001b[{codes}mx"
    else:
        assert body == (f'<span class="{classes}">x</span>' if classes else "x")


def test_matches_are_marked_across_colours() -> None:
    html = shown("a NEE\x1b[31mdle\x1b[0m, needle", look=Look(start=AT, q="needle"))
    assert Reader(html).marked == "NEEdleneedle"
    assert '<mark class="mark">NEE</mark><mark class="mark c1">dle</mark>, <mark class="mark">needle</mark>' in html


def test_a_long_line_is_cut_and_says_so() -> None:
    html = shown("x" * 16384 + "…", look=Look(start=AT, download="/x/log.txt"))
    assert "x" * MAX_SHOWN_CHARACTERS in html and "x" * (MAX_SHOWN_CHARACTERS + 1) not in html
    words = "… cut here: 12,385 more characters; the line continues below. Download this line"
    assert f'<a class="cut" href="/x/log.txt?from=7&amp;to=7">{words}</a>' in html


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"\x1b[{30 + n % 8}m{n}" for n in range(4000)),
        "".join(f"\x1b[{30 + n % 8}m" for n in range(4000)) + "end",
        f"\x1b[{';'.join(['38;5;9'] * 4000)}mend",
    ],
    ids=["pieces", "codes", "numbers"],
)
def test_endless_colours_become_few_elements(text: str) -> None:
    html = "".join(render_lines([line(text)] * 200, LOOK))
    assert html.count("<span") <= MAX_PIECES
    assert html.count('class="line"') == 200


@pytest.mark.parametrize(
    ("stream", "text", "tag"),
    [
        ("stdout", "all is well", None),
        ("stderr", "Debugger attached.", "stderr"),
        ("service", "$ myst build", "Jobsite"),
        ("warning", "Removed it.", "Warning"),
        ("stdout", "⛔️ a.md:3 bad", "Error"),
        ("stderr", "\x1b[31mError:\x1b[0m no", "Error"),
        ("service", "exit code 1 after 2.0 s", "Error"),
        ("service", "exit code 0 after 2.0 s", "Jobsite"),
    ],
)
def test_the_stream_of_a_line_is_shown_as_a_word(stream: str, text: str, tag: str | None) -> None:
    found = re.findall(r'<b class="tag">(\w+)</b>', shown(text, stream))
    assert found == ([tag] if tag else [])


def test_times_are_clock_times_or_elapsed_times() -> None:
    assert '<time datetime="2026-11-24T12:00:07.300Z">12:00:07</time>' in shown("x")
    assert ">1:07.0</time>" in shown("x", look=Look(start=LOOK.start, elapsed=True))
    assert format_elapsed(AT, AT + timedelta(hours=1, seconds=67, milliseconds=250)) == "1:01:07.2"
    assert format_elapsed(AT, AT - timedelta(seconds=1)) == "0:00.0"
