"""Prepares a JATS article for pandoc, which leaves out numbers of figures and tables, the abstract, boxes, outputs of notebooks,
and the pages after the first.

Used by render_article.py, within its limits.
"""

import posixpath
from collections.abc import Iterator
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, SubElement, tostring

import defusedxml.ElementTree

MAX_ELEMENTS = 200_000
XLINK = "{http://www.w3.org/1999/xlink}"
PREVIEW = "../preview/?"
CAPTIONED = ("fig", "table-wrap")


def prepare(document: bytes, folder: str) -> tuple[bytes, dict[str, str]]:
    """The article for pandoc, and the numbers of its equations by their ids. ``folder`` is the article's in its bundle.

    Raises:
        ParseError, ValueError, LookupError, RecursionError: it is not XML, has entities of its own, or is too large or nested too deeply.
    """
    article = defusedxml.ElementTree.fromstring(document, forbid_external=False)
    if sum(1 for _element in article.iter()) > MAX_ELEMENTS:
        raise ValueError("too many elements")
    body = article.find("body")
    if article.tag != "article" or body is None:
        raise ValueError("no article")
    _gather(article, body)
    labels = dict(_equations(body))
    for output in body.iter("alternatives"):
        _link_output(output, folder)
    for element in list(body.iter()):
        if change := CHANGES.get(str(element.tag)):
            change(element)
    return tostring(article), labels


def _gather(article: Element, body: Element) -> None:
    """Put into the body what pandoc looks for only there: the abstract before it, and what follows after it."""
    for number, abstract in enumerate(article.findall("front/article-meta/abstract")):
        body.insert(number, _section(abstract, abstract.findtext("title") or "Abstract"))
    for part in article.findall("back/*"):
        if part.tag in ("ack", "sec", "notes"):
            body.append(_section(part, part.findtext("title") or ""))
    for appendix in article.findall("back/app-group/app"):
        body.append(_section(appendix, appendix.findtext("title") or ""))
    for page in article.findall("sub-article"):
        article.remove(page)
        title = page.find("front-stub/title-group/article-title")
        content = page.find("body")
        if content is not None:
            body.append(_section(content, "".join(title.itertext()) if title is not None else "", page.get("id")))
    if article.find("back/ref-list/ref") is not None:
        body.append(_section(Element("sec"), "References"))  # pandoc puts them at the end of the last section


def _section(content: Element, title: str, name: str | None = None) -> Element:
    """A section with the children of ``content``. Its title is a text."""
    section = Element("sec", {"id": name} if name else {})
    heading = Element("title")
    heading.text = title
    section.extend([heading, *(child for child in content if child.tag not in ("title", "label"))])
    return section


def _equations(body: Element) -> Iterator[tuple[str, str]]:
    for equation in body.iter("disp-formula"):
        label = equation.findtext("label")
        if label and equation.get("id"):
            yield equation.get("id", ""), label.strip()


def _number(element: Element) -> None:
    """Put the label of a figure or table before its caption, and give the alternative text to the image."""
    label, caption = element.find("label"), element.find("caption")
    if label is not None and label.text:
        if caption is None:
            caption = Element("caption")
            element.insert(0, caption)
        first = next((each for each in caption if each.tag in ("p", "title")), None)
        if first is None:
            first = Element("p")
            caption.append(first)
        first.insert(0, _bold(label.text, first.text))
        first.text = ""
    _describe(element)


def _describe(element: Element) -> None:
    """Pandoc reads an image's alternative text inside the image only."""
    alternative = element.find("alt-text")
    if alternative is not None:
        element.remove(alternative)
        for graphic in element.iter("graphic"):
            graphic.append(alternative)


def _bold(text: str, after: str | None) -> Element:
    bold = Element("bold")
    bold.text, bold.tail = text.strip(), f" {after or ''}"
    return bold


def _box(element: Element) -> None:
    """A box is a quotation that begins with its number and its title."""
    element.tag = "disp-quote"
    caption = element.find("caption")
    holders = [(element, element.find("label")), (caption, caption.find("title") if caption is not None else None)]
    words = [_taken(holder, title) for holder, title in holders if holder is not None and title is not None]
    if caption is not None and not len(caption):
        element.remove(caption)
    if words:
        paragraph = Element("p")
        paragraph.append(_bold(" ".join(words), None))
        element.insert(0, paragraph)


def _taken(holder: Element, title: Element) -> str:
    holder.remove(title)
    return "".join(title.itertext()).strip()


def _link_output(output: Element, folder: str) -> None:
    """An output of a notebook that is not an image is a file of its own. Pandoc leaves it out."""
    files = output.findall("media")
    if files and output.find("graphic") is None:
        path = posixpath.join(folder, files[-1].get(f"{XLINK}href", ""))
        output.clear()
        output.tag = "p"
        link = SubElement(output, "ext-link", {f"{XLINK}href": f"{PREVIEW}{urlencode({'entry': path})}"})
        link.text = "An output of this cell, as a file"


def _cite(element: Element) -> None:
    """A citation stays as it was printed, and links to its reference. Pandoc would write another in its place."""
    if element.get("ref-type") == "bibr":
        element.set("ref-type", "reference")


CHANGES = {**dict.fromkeys(CAPTIONED, _number), "boxed-text": _box, "statement": _box, "xref": _cite}
