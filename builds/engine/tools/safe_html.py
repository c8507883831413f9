"""Reduces pandoc's HTML to the elements and attributes that are listed here. Used by render_article.py, within its limits."""

import html
import posixpath
import re
from itertools import count
from urllib.parse import urlencode, urlsplit

import nh3

# Authors choose the ids of their elements. With a prefix, none is the same as one of the page around them.
PREFIX = "a-"
# As nh3 writes it: every value is between double quotes, and has none in it.
IMAGE = re.compile(r'<img((?:[^<>"]|"[^"]*")*)>')
SOURCE, DESCRIPTION = re.compile(r' src="'), re.compile(r' alt="([^"]*)"')
NAMELESS = "Image without a description"
# Each image is a request, and reads the bundle's list of files.
MAX_IMAGES = 500
NAME = re.compile(rf"{PREFIX}[\w.:-]+")
NO_CLASS = re.compile(r'(<[a-z0-9]+\b[^<>]*?) class=""')
# To elsewhere, to a place of the article, or to another file of its bundle: not to other pages of the desk.
LINK = re.compile(rf"https?://|mailto:|#{PREFIX}|\.\./preview/\?entry=", re.IGNORECASE)
ALIGNED = re.compile(r'(<t[dh]\b[^<>]*?) style="text-align: (left|right|center);"')

TEXT = (
    "p br hr h2 h3 h4 h5 h6 section div span blockquote pre code ul ol li dl dt dd a em strong sub sup del u q cite small figure "
    "figcaption img"
)
TABLE = "table caption colgroup col thead tbody tfoot tr th td"
MATH = (
    "math semantics mrow mi mn mo ms mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mroot mtable mtr mtd mpadded "
    "mphantom mstyle menclose mmultiscripts mprescripts none"
)
TAGS = {*TEXT.split(), *TABLE.split(), *MATH.split()}
# Elements that go with all that is in them. Pandoc repeats each formula as TeX in an annotation.
REMOVED = {"script", "style", "annotation", "annotation-xml", "title", "template", "iframe", "noscript", "svg"}
MATH_ATTRIBUTES = {
    *(
        "display",
        "mathvariant",
        "stretchy",
        "form",
        "fence",
        "separator",
        "accent",
        "accentunder",
        "lspace",
        "rspace",
        "width",
        "height",
    ),
    *(
        "depth",
        "columnalign",
        "rowspacing",
        "columnspacing",
        "scriptlevel",
        "displaystyle",
        "minsize",
        "maxsize",
        "notation",
        "linethickness",
    ),
}
ATTRIBUTES = {
    **dict.fromkeys(MATH.split(), MATH_ATTRIBUTES),
    **{name: {"id"} for name in TEXT.split()},
    **{name: {"colspan", "rowspan", "scope"} for name in ("td", "th")},
    "table": {"id"},
    "a": {"id", "href", "role", "title"},
    "img": {"src", "alt"},
    "ol": {"start", "type"},
    "section": {"id", "role"},
}
CLASSES = {
    "div": {"references", "csl-entry", "caption", "table-wrap", "disp-formula"},
    "section": {"footnotes"},
    "a": {"footnote-ref", "footnote-back"},
    "blockquote": {"boxed"},
    "td": {"left", "right", "center"},
    "th": {"left", "right", "center"},
}
# With a negative or a very large one, a formula could be drawn over the page around the article.
LENGTHS = {"width", "height", "depth", "lspace", "rspace", "minsize", "maxsize", "rowspacing", "columnspacing", "linethickness"}
LENGTH = re.compile(r"\+?[0-3]?\d(?:\.\d+)?(?:em|ex|px|pt)?")
ROLES = {"doc-endnotes", "doc-noteref", "doc-backlink"}


def clean(written: str, folder: str) -> str:
    """The HTML with only the allowed elements and attributes."""

    def allowed(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "src":
            return figure_address(folder, value)
        if attribute == "href":
            return value if LINK.match(value) else None
        if attribute == "id":
            return value if NAME.fullmatch(value) else None
        if attribute == "role":
            return value if value in ROLES else None
        if attribute in LENGTHS:
            return value if LENGTH.fullmatch(value) else None
        return value

    aligned = ALIGNED.sub(r'\1 class="\2"', written)
    return str(
        nh3.clean(
            aligned,
            tags=TAGS,
            clean_content_tags=REMOVED,
            attributes=ATTRIBUTES,
            attribute_filter=allowed,
            allowed_classes=CLASSES,
            url_schemes={"http", "https", "mailto"},
            link_rel="noopener noreferrer",
        )
    )


def figure_address(folder: str, source: str) -> str | None:
    """The address of an image of the bundle. None for any other: a page loads nothing from elsewhere."""
    parts = urlsplit(source)
    path = posixpath.normpath(posixpath.join(folder, source))
    if parts.scheme or parts.netloc or path.startswith(("/", "..")):
        return None
    return "../figure/?" + urlencode({"entry": path})


def finish(cleaned: str, labels: dict[str, str]) -> str:
    """The HTML with the numbers of equations, which pandoc leaves out. Each image has an alternative text, and is loaded lazily."""
    shown = count(1)

    def add(found: re.Match[str]) -> str:
        label = labels.get(found[1])
        return f"{found[0]}<span>{html.escape(label)}</span>" if label else found[0]

    def image(found: re.Match[str]) -> str:
        described = DESCRIPTION.search(found[1])
        if not SOURCE.search(found[1]):
            return "<em>An image that is not in the bundle</em>"
        if next(shown) > MAX_IMAGES:
            return f"<em>{html.escape(html.unescape(described[1])) if described else NAMELESS}</em>"
        text = "" if described else f' alt="{NAMELESS}"'
        return f'<img loading="lazy"{text}{found[1]}>'

    with_images = IMAGE.sub(image, NO_CLASS.sub(r"\1", cleaned))
    return re.sub(rf'<div id="{PREFIX}([^"<>]+)" class="disp-formula">', add, with_images)
