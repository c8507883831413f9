"""What a built page says about its article: title, authors, abstract, keywords, licence. It is untrusted, and may contain anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypedDict

from builds.engine.manuscript import limited
from builds.lib.text import one_line

FRONT = "frontmatter"
FIELDS = ("title", "authors", "affiliations", "keywords", "license")
PLACES = (*((FRONT, name) for name in FIELDS), (FRONT, "parts", "abstract", "mdast"))
MAX_TITLE, MAX_NAME, MAX_ADDRESS, MAX_ABSTRACT = 500, 200, 500, 10_000
MAX_AUTHORS, MAX_AFFILIATIONS, MAX_KEYWORDS = 200, 10, 50
ORCID = re.compile(r"(?:https?://(?:www\.)?orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])")
ADDRESS = re.compile(r"https?://[^\s<>\"]+")
AFFILIATION = ("name", "institution", "department", "city", "country")


class Author(TypedDict):
    """An author, with empty texts for what is unknown."""

    name: str
    orcid: str
    affiliations: list[str]


@dataclass(frozen=True)
class BuiltArticle:
    """What is known of an article; empty where the page does not say it."""

    title: str = ""
    authors: list[Author] = field(default_factory=list)
    abstract: str = ""
    keywords: list[str] = field(default_factory=list)
    licence: str = ""
    licence_url: str = ""


def read(page: bytes) -> BuiltArticle:
    """The article of a page's JSON. Empty where the JSON can't be read within the limits."""
    title, authors, affiliations, keywords, licence, abstract = limited.json_values(page, *PLACES)
    name, address = _licence(licence)
    return BuiltArticle(
        title=one_line(title, MAX_TITLE),
        authors=list(_authors(authors, _places(affiliations))),
        abstract="\n\n".join(_paragraphs(abstract))[:MAX_ABSTRACT],
        keywords=[word for each in _list(keywords)[:MAX_KEYWORDS] if (word := one_line(each, MAX_NAME))],
        licence=name,
        licence_url=address,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _places(affiliations: Any) -> dict[str, str]:
    """The affiliations by their ids. An author names the id, or an affiliation that is nowhere else."""
    found = (each for each in _list(affiliations) if isinstance(each, dict))
    return {str(each.get("id")): _place(each) for each in found}


def _place(affiliation: dict[str, Any]) -> str:
    parts = dict.fromkeys(one_line(affiliation.get(name), MAX_NAME) for name in AFFILIATION)
    return ", ".join(filter(None, parts))


def _authors(authors: Any, places: dict[str, str]) -> Iterator[Author]:
    for author in _list(authors)[:MAX_AUTHORS]:
        name = one_line(author.get("name"), MAX_NAME) if isinstance(author, dict) else ""
        if name:
            orcid = ORCID.fullmatch(one_line(author.get("orcid"), MAX_NAME))
            at = (one_line(each, MAX_NAME) for each in _list(author.get("affiliations"))[:MAX_AFFILIATIONS])
            yield Author(name=name, orcid=orcid[1] if orcid else "", affiliations=[places.get(each, each) for each in at if each])


def _licence(licence: Any) -> tuple[str, str]:
    """The name and the address. A page has one licence, or one each for its content and its code."""
    content = licence.get("content", licence) if isinstance(licence, dict) else licence
    if not isinstance(content, dict):
        return one_line(content, MAX_NAME), ""
    name = one_line(content.get("name") or content.get("id"), MAX_NAME)
    address = one_line(content.get("url"), MAX_ADDRESS)
    return name, address if ADDRESS.fullmatch(address) else ""


def _paragraphs(node: Any) -> Iterator[str]:
    """The texts of the paragraphs below a node. The limited reader has refused what is nested too deeply for this."""
    if not isinstance(node, dict):
        return
    if node.get("type") == "paragraph":
        yield one_line("".join(_words(node)), MAX_ABSTRACT)
        return
    for child in _list(node.get("children")):
        yield from _paragraphs(child)


def _words(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        value = node.get("value")
        if isinstance(value, str):
            yield f"${value}$" if node.get("type") == "inlineMath" else value
        for child in _list(node.get("children")):
            yield from _words(child)
