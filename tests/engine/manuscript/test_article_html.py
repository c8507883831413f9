"""A JATS article as HTML: what pandoc leaves out is there, and what an author could do harm with is not."""

from __future__ import annotations

import re

import pytest

from builds.engine.manuscript.article_html import find_pandoc, render
from builds.engine.manuscript.limited import Interrupted
from builds.engine.tools.safe_html import MAX_IMAGES
from tests.support.jats import article

PANDOC = find_pandoc()
pytestmark = pytest.mark.skipif(PANDOC is None, reason="pandoc is not installed")


def rendered(document: bytes) -> str:
    assert PANDOC
    html = render(document, "content", PANDOC)
    assert html is not None
    return re.sub(r"\s+", " ", html.replace("\xa0", " ").replace("&nbsp;", " "))


def test_everything_of_an_article_is_there() -> None:
    html = rendered(article())
    parts = [
        *("<h2>Abstract</h2>", "<p>Tides <em>rise</em>.</p>", '<section id="a-sec-1">', "<h2>Introduction</h2>"),
        *('href="#a-fn1" class="footnote-ref"', '<a href="#a-ref-1" rel="noopener noreferrer">Erlang, 1917</a>'),
        *('<a href="#a-figure-1"', '<a href="#a-eq-1"', '<figure id="a-figure-1">'),
        '<img loading="lazy" src="../figure/?entry=content%2Ffiles%2Fcurve.svg" alt="A curve">',
        *(
            "<figcaption><strong>Figure 1:</strong> The gauge.",
            "<strong>Table 1:</strong> The tides.",
            '<th class="right">Height</th>',
        ),
        *(
            '<div id="a-eq-1" class="disp-formula"><span>(1)</span>',
            '<math display="block">',
            "<mfrac><mi>a</mi><mi>b</mi></mfrac>",
        ),
        *("<blockquote> <p><strong>Warning</strong></p> <p>Mind the gap.</p>", "<pre><code>if x &lt; 1: y</code></pre>"),
        *(
            '<a href="../preview/?entry=content%2Ffiles%2F1.txt"',
            '<img loading="lazy" alt="Image without a description" src="../figure/?entry=content%2Ffiles%2Fphoto.png">',
        ),
        *("<p>We thank the moon.</p>", "<h2>The second page</h2>", "<h2>References</h2>", '<div id="a-ref-1" class="csl-entry">'),
        *("Elektroteknikeren", '<div id="a-ref-2"', "Not Cited", '<li id="a-fn1"><p>The <em>footnote</em>.'),
    ]
    places = [html.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)


EVIL = """<p>&lt;script&gt;alert(1)&lt;/script&gt;<script>alert(2)</script><style>p {color: red}</style>
<ext-link xlink:href="javascript:alert(3)">a</ext-link><ext-link xlink:href="data:text/html,x">b</ext-link>
<ext-link xlink:href='https://x.example/" onmouseover="alert(4)'>c</ext-link><styled-content style="position:fixed">d</styled-content>
<inline-graphic xlink:href="https://evil.example/x.png"/><inline-graphic xlink:href="//evil.example/x.png"/>
<inline-graphic xlink:href="../../etc/passwd"/><inline-graphic xlink:href="/sign-out/"/>
<inline-graphic xlink:href="data:image/png;base64,A"/>
<ext-link xlink:href="/submissions/act/">e</ext-link><ext-link xlink:href="../../act/retry/">f</ext-link>
<inline-formula><tex-math>\\href{javascript:alert(5)}{x} \\text{&lt;img src=x onerror=alert(6)&gt;}</tex-math></inline-formula></p>
<fig id="main"><graphic xlink:href="javascript:alert(7)"/></fig>
<sec id='x"&gt;&lt;img src=x onerror=alert(8)&gt;'><title>&lt;img src=x onerror=alert(9)&gt;</title></sec>
<fig id="f"><label>&lt;script&gt;</label><graphic xlink:href="a.png" onload="alert(1)"/></fig>
<disp-formula id="e"><tex-math>x</tex-math><label>&lt;script&gt;</label></disp-formula>
<preformat>&lt;/pre&gt;&lt;script&gt;</preformat><code language='"&gt;&lt;script&gt;'>x</code>"""


def test_nothing_of_an_article_can_do_harm() -> None:
    html = rendered(article(EVIL))
    tags = re.findall(r"<[^>]*>", html)
    for tag in tags:
        without_values = re.sub(r'"[^"]*"', '""', tag)
        assert not re.match(r"<(script|style|iframe|object|embed|svg|form|input|link|meta|base)\b", tag)
        assert not re.search(r"\s(on\w+|style|srcset|formaction|xlink:\w+)=", without_values), tag
    addresses = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert all(address.startswith(("#a-", "https://x.example/", "../figure/?entry=content%2Fa.png")) for address in addresses)
    assert all(re.fullmatch(r"a-[\w.:-]+", name) for name in re.findall(r'\sid="([^"]*)"', html))
    assert html.count("An image that is not in the bundle") == 6


ENTITIES = '<!DOCTYPE article [<!ENTITY a "{}">]><article><body><p>&a;</p></body></article>'


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<article>",
        b"<other><body/></other>",
        ENTITIES.format("x" * 10).encode(),
        ENTITIES.replace('"{}"', 'SYSTEM "file:///etc/passwd"').encode(),
        article("<sec>" * 100_000 + "</sec>" * 100_000, ""),
        article("<p>x <bold>y</bold></p>" * 100_001, ""),
        b"<article><body><p>" + b"x" * (10 << 20) + b"</p></body></article>",
    ],
    ids=["empty", "cut", "other", "entity", "file", "deep", "many", "large"],
)
def test_what_exceeds_a_limit_is_not_rendered(document: bytes) -> None:
    assert PANDOC
    assert render(document, "", PANDOC) is None


def test_a_pandoc_that_fails_would_fail_again_and_one_that_is_gone_may_come_back() -> None:
    assert render(article(), "", "/bin/false") is None
    with pytest.raises(Interrupted):
        render(article(), "", "/nothing/pandoc")


def test_a_page_loads_a_limited_number_of_images() -> None:
    images = '<inline-graphic xlink:href="a.png"><alt-text>&lt;b&gt;</alt-text></inline-graphic>' * (MAX_IMAGES + 2)
    html = rendered(article(f"<p>{images}</p>", ""))
    assert html.count("<img ") == html.count('<img loading="lazy" ') == MAX_IMAGES
    assert html.count("<em>") == 3  # one of them is in the abstract
    assert "<b>" not in html


def test_no_formula_is_drawn_over_the_page() -> None:
    formulas = r"\hspace{-90em}a \hspace{9000em}b \hspace{2em}c"
    html = rendered(article(f"<p><inline-formula><tex-math>{formulas}</tex-math></inline-formula></p>", ""))
    assert re.findall(r'<mspace(?: width="([^"]*)")?', html) == ["", "", "2.0em"]
