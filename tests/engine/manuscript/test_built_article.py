"""What a built page says about its article."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builds.engine.manuscript.built_article import BuiltArticle, read

ABSTRACT = {
    "type": "root",
    "children": [
        {
            "type": "paragraph",
            "children": [{"type": "text", "value": "Corals\n"}, {"type": "emphasis", "children": [{"value": "grow"}]}],
        },
        {"type": "paragraph", "children": [{"type": "text", "value": "by "}, {"type": "inlineMath", "value": "x^2"}]},
    ],
}
FRONT = {
    "title": "On <i>Porites</i>",
    "authors": [
        {"name": "Zoë Ångström", "orcid": "https://orcid.org/0000-0002-1825-0097", "affiliations": ["reef", "Elsewhere"]},
        {"name": "Ada", "orcid": "javascript:alert(1)"},
    ],
    "affiliations": [{"id": "reef", "name": "Reef Institute", "city": "Aarhus", "country": "Denmark"}],
    "keywords": ["corals", 7, {"x": 1}],
    "license": {"content": {"id": "CC-BY-4.0", "name": "CC BY", "url": "https://creativecommons.org/licenses/by/4.0/"}},
    "parts": {"abstract": {"mdast": ABSTRACT}},
}


def page(front: Any) -> bytes:
    return json.dumps({"kind": "Article", "frontmatter": front}).encode()


def test_all_that_the_card_shows() -> None:
    assert read(page(FRONT)) == BuiltArticle(
        title="On <i>Porites</i>",
        authors=[
            {
                "name": "Zoë Ångström",
                "orcid": "0000-0002-1825-0097",
                "affiliations": ["Reef Institute, Aarhus, Denmark", "Elsewhere"],
            },
            {"name": "Ada", "orcid": "", "affiliations": []},
        ],
        abstract="Corals grow\n\nby $x^2$",
        keywords=["corals", "7"],
        licence="CC BY",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
    )


@pytest.mark.parametrize(
    "front",
    [
        None,
        [],
        dict.fromkeys(FRONT, 1.5) | {"title": None, "keywords": "x", "license": {"content": []}},
        {
            "authors": ["a", {}, {"name": {}}, {"affiliations": "x"}],
            "affiliations": [1],
            "license": {"url": "javascript:alert(1)"},
        },
        {"parts": {"abstract": {"mdast": {"children": [{"children": 5}, None]}}}},
    ],
)
def test_a_page_of_another_form_says_nothing(front: Any) -> None:
    assert read(page(front)) == BuiltArticle()


def test_a_page_that_is_nested_too_deeply_says_nothing() -> None:
    deep = '{"children": [' * 5000 + "]}" * 5000
    assert read(f'{{"frontmatter": {{"title": "x", "parts": {{"abstract": {{"mdast": {deep}}}}}}}}}'.encode()) == BuiltArticle()
