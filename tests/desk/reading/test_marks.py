"""Findings are marked where an article has the words that they quote, and nothing else in the article changes."""

from __future__ import annotations

import re

import pytest

from builds.desk.reading.marks import MAX_MARKED, mark
from builds.desk.submissions.findings import Shown
from builds.models import Finding

HTML = (
    '<p title="x > The PDF has &lt; no tides">One &amp; two rise and fall.</p>'
    "<p>The <em>rise and fall</em> of tides &lt;script&gt; is a long story that nobody ever tells to its very end.</p>"
    '<a href="#a-x">A linked story</a>'
)


def marked(*texts: str, html: str = HTML) -> tuple[str, list[bool]]:
    out, listed = mark(html, [Shown(Finding(text=text, code="x"), "") for text in texts])
    return re.sub(r'<a class="mark-link" href="#problem-(\d+)">problem \1</a>', r"[\1]", out), [each.is_marked for each in listed]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('The PDF lacks "One & two rise" (index.md).', '<mark id="place-1">One &amp; two rise</mark>[1] and fall.'),
        ('It lacks "of tides <script> is".', '<mark id="place-1">of tides &lt;script&gt; is</mark>[1]'),
        (
            'It lacks "is a long story that nobody ever tells to anyone at all…".',
            '<mark id="place-1">is a long story that nobody ever tells</mark>[1] to its very end.',
        ),
    ],
)
def test_the_words_of_a_finding_are_marked(text: str, shown: str) -> None:
    html, is_marked = marked(text)
    assert (shown in html, is_marked) == (True, [True])
    assert re.sub(r'<mark id="place-1">|</mark>\[1\]', "", html) == HTML


@pytest.mark.parametrize(
    "text",
    [
        "It has no quotation.",
        'It lacks "The PDF has < no tides".',
        'It lacks "A linked story".',
        'It lacks "<p title=".',
        'It lacks "One".',
    ],
)
def test_what_is_not_in_the_text_is_not_marked(text: str) -> None:
    assert marked(text) == (HTML, [False])


def test_nothing_is_marked_deep_in_a_link_or_a_formula() -> None:
    html = "<a href='#a-x'><em>quoted words</em></a><math><mrow><mtext>quoted words</mtext></mrow></math>".replace("'", '"')
    assert marked('It lacks "quoted words".', html=html) == (html, [False])
    assert marked('It lacks "quoted words".', html=f"{html}quoted words")[1] == [True]


def test_two_findings_can_be_marked_in_one_text_and_the_first_of_very_many() -> None:
    html, _both = marked('It lacks "rise and fall".', 'It lacks "One & two ".')
    assert html.startswith(
        HTML.partition("One")[0] + '<mark id="place-2">One &amp; two</mark>[2] <mark id="place-1">rise and fall</mark>[1].'
    )
    assert marked(*['It lacks "nobody ever tells".'] * (MAX_MARKED + 1), html=HTML * 50)[1] == [True] * MAX_MARKED + [False]
