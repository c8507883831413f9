"""A JATS article as mystmd writes them, and a MECA bundle that holds one."""

from __future__ import annotations

import io
import zipfile

ARTICLE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) v1.3 20210610//EN" "http://jats.nlm.nih.gov/publishing/1.3/JATS-archivearticle1-3.dtd">
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink">
<front><article-meta><title-group><article-title>On tides</article-title></title-group>
<abstract><p>Tides <italic>rise</italic>.</p></abstract></article-meta></front>
<body>{body}</body>
{back}
</article>"""
BODY = """<sec id="sec-1"><title>Introduction</title>
<p>A note<xref ref-type="fn" rid="fn-1">1</xref>, a citation (<xref ref-type="bibr" rid="ref-1">Erlang, 1917</xref>),
<xref ref-type="fig" rid="figure-1">Figure 1</xref> and <xref ref-type="disp-formula" rid="eq-1">(1)</xref>.</p>
<fig id="figure-1"><label>Figure 1:</label><caption><p>The gauge.</p></caption><alt-text>A curve</alt-text>
<graphic xlink:href="files/curve.svg"/></fig>
<table-wrap id="table-1"><label>Table 1:</label><caption><p>The tides.</p></caption>
<table><thead><tr><th align="right">Height</th></tr></thead><tbody><tr><td align="right">4 m</td></tr></tbody></table></table-wrap>
<disp-formula id="eq-1"><alternatives><mml:math display="block"><mml:mi>h</mml:mi></mml:math>
<tex-math><![CDATA[h = \\frac{a}{b}]]></tex-math>
</alternatives><label>(1)</label></disp-formula>
<boxed-text content-type="warning"><caption><title>Warning</title></caption><p>Mind the gap.</p></boxed-text>
<code language="python">if x &lt; 1: y</code>
<sec sec-type="notebook-output"><alternatives><media mimetype="text" xlink:href="files/1.html"/>
<media mimetype="text" xlink:href="files/1.txt"/></alternatives></sec>
<sec sec-type="notebook-output"><alternatives><graphic xlink:href="files/photo.png"/>
<media mimetype="text" xlink:href="files/2.txt"/></alternatives></sec></sec>"""
BACK = """<back><ack><p>We thank the moon.</p></ack>
<ref-list><ref id="ref-1"><element-citation publication-type="journal"><article-title>Some problems</article-title>
<person-group person-group-type="author"><name><surname>Erlang</surname><given-names>A. K.</given-names></name></person-group>
<source>Elektroteknikeren</source><year>1917</year></element-citation></ref>
<ref id="ref-2"><element-citation publication-type="book"><article-title>Not Cited</article-title><year>1975</year></element-citation></ref>
</ref-list><fn-group><fn id="fn-1"><label>1</label><p>The <italic>footnote</italic>.</p></fn></fn-group></back>
<sub-article id="second"><front-stub><title-group><article-title>The second page</article-title></title-group></front-stub>
<body><p>More of it.</p></body></sub-article>"""
SVG = (
    b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 4"><path d="M0 4L9 0"/></svg>'
)
MANIFEST = """<manifest xmlns:xlink="http://www.w3.org/1999/xlink"><item item-type="article-metadata">
<instance media-type="application/xml" xlink:href="paper.xml"/></item></manifest>"""


def article(body: str = BODY, back: str = BACK) -> bytes:
    return ARTICLE.format(body=body, back=back).encode()


def meca(document: bytes | None = None) -> bytes:
    """A bundle whose manifest names the article, beside another XML file and figures."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("aaa.xml", "<other/>")
        archive.writestr("manifest.xml", MANIFEST)
        archive.writestr("paper.xml", article() if document is None else document)
        archive.writestr("files/curve.svg", SVG)
        archive.writestr("files/photo.png", b"\x89PNG\r\n\x1a\n and pixels")
        archive.writestr("files/page.html", "<!doctype html><svg></svg><script>alert(1)</script>")
    return data.getvalue()
