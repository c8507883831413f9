"""The reading view: the article of a bundle as a page without scripts."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client

from builds import lifecycle
from builds.desk.exports.views import get_kept
from builds.desk.reading import articles
from builds.engine.manuscript import article_html
from builds.lib import zips
from builds.models import Build, Mode
from tests.support import jats, made
from tests.support.found import MISSING, write_findings
from tests.support.kept import path_of

needs_pandoc = pytest.mark.skipif(article_html.find_pandoc() is None, reason="pandoc is not installed")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    caches["articles"].clear()


def address(build: Build, position: int = 2, rest: str = "article/") -> str:
    return f"/submissions/{build.submission_id}/attempts/1/exports/{position}/{rest}"


def bundled(data: bytes | None = None) -> Build:
    """An attempt with a bundle whose article can be read, and with a problem."""
    build = made.running(title="On <i>tides</i>")
    write_findings(build, MISSING, replace(MISSING, text='The PDF lacks "Mind the gap." <b>'))
    made.delivered(build)
    path_of(build.artifacts.get(position=2)).write_bytes(jats.meca() if data is None else data)
    return build


@needs_pandoc
def test_a_problem_is_marked_at_the_line_that_it_names(viewer: Client) -> None:
    data = io.BytesIO(jats.meca(jats.article("<p>The harbour has two old gauges.</p>")))
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("bundle/index.md", "# Tides\n\nThe harbour has two old gauges.\n")
    shown = viewer.get(address(bundled(data.getvalue()))).text
    assert '<mark id="place-1">The harbour has two old gauges</mark>' in shown
    assert '<a href="#place-1">Show it in the article</a>' in shown


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


@needs_pandoc
def test_the_article_is_a_page_without_scripts(viewer: Client) -> None:
    build = bundled()
    assert f'href="{address(build)}">Read the article</a>' in viewer.get(f"/submissions/{build.submission_id}/").text
    answer = viewer.get(address(build))
    for words in (
        '<h1 class="title"><bdi>On <i>tides</i></bdi></h1>',
        '<article class="card article" dir="auto"><section>\n<h2>Abstract</h2>',
        f'href="{address(build, 1, "preview/")}">Read the PDF</a>',
        "The figure “a.png” is missing.",
        f"/blob/{made.COMMIT}/docs/index.md#L3",
        '<a href="#place-2">Show it in the article</a>',
        '<mark id="place-2">Mind the gap.</mark><a class="mark-link" href="#problem-2">problem 2</a>',
    ):
        assert words in answer.text
    assert "<script" not in answer.text
    policy = set(answer["Content-Security-Policy"].split("; "))
    assert policy >= {"script-src 'none'", "img-src 'self'", "style-src 'self'"}
    assert "unsafe" not in answer["Content-Security-Policy"]


@needs_pandoc
def test_whoever_reads_about_a_problem_can_write_to_the_authors(viewer: Client, editor: Client) -> None:
    build = bundled()
    link = f'href="/submissions/{build.submission_id}/letter/">Write to the authors'
    assert link in editor.get(address(build)).text
    assert link not in viewer.get(address(build)).text
    assert "Write to the authors" not in editor.get(address(made.succeeded("sound"))).text
    lifecycle.retry(build.submission, Mode.LATEST, actor="ada")
    assert link not in editor.get(address(build)).text  # a letter would be about the new attempt


@needs_pandoc
def test_an_article_is_rendered_once(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    build = bundled()
    before = viewer.get(address(build)).text
    monkeypatch.setattr(article_html, "render", None)
    assert viewer.get(address(build)).text.count("Tides <em>rise</em>") == before.count("Tides <em>rise</em>") == 1


def test_without_pandoc_the_page_offers_the_pdf_and_the_jats(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    build = bundled()
    monkeypatch.setattr(article_html, "find_pandoc", lambda: None)
    page = viewer.get(address(build)).text
    assert articles.NO_PANDOC.replace("'", "&#x27;") in page
    assert (
        f'<a href="{address(build, 1, "preview/")}">PDF</a> or the <a href="{address(build, 2, "preview/")}?entry=paper.xml">'
        in page
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no archive", articles.NO_ARTICLE),
        (jats.meca(b"<article>"), articles.NOT_RENDERED),
        (jats.meca(b" " * (article_html.MAX_JATS_BYTES + 1)), articles.TOO_LARGE),
    ],
    ids=["archive", "xml", "size"],
)
def test_an_article_that_cannot_be_shown_says_why(
    viewer: Client, monkeypatch: pytest.MonkeyPatch, data: bytes, problem: str
) -> None:
    monkeypatch.setattr(article_html, "find_pandoc", lambda: "/bin/false")
    assert problem.replace("'", "&#x27;") in viewer.get(address(bundled(data))).text


def test_only_one_article_is_rendered_at_a_time(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(articles, "WAIT_SECONDS", 0.01)
    build = bundled()
    with articles._one_at_a_time:
        answer = viewer.get(address(build))
    assert articles.BUSY in answer.text and (answer.status_code, answer["Retry-After"]) == (503, "5")
    monkeypatch.setattr(article_html, "find_pandoc", lambda: "/bin/false")
    assert articles.BUSY not in viewer.get(address(build)).text


@pytest.mark.parametrize(("position", "status"), [(1, 404), (3, 404), (9, 404)])
def test_only_a_bundle_has_an_article(viewer: Client, position: int, status: int) -> None:
    assert viewer.get(address(bundled(), position)).status_code == status


def test_a_figure_opens_the_bundle_once(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    build, opened, real = bundled(), [], zips.opened
    monkeypatch.setattr(zips, "opened", lambda *arguments: opened.append(arguments) or real(*arguments))  # type: ignore[func-returns-value]
    assert content(viewer.get(address(build, 2, "figure/?entry=files/photo.png"))) == b"\x89PNG\r\n\x1a\n and pixels"
    assert len(opened) == 1


def test_figures_are_images_and_nothing_else(viewer: Client) -> None:
    build = bundled()
    for entry, kind in (("files/curve.svg", "image/svg+xml"), ("files/photo.png", "image/png")):
        figure = viewer.get(address(build, 2, f"figure/?entry={entry}"))
        assert (figure["Content-Type"], figure["X-Content-Type-Options"]) == (kind, "nosniff")
        assert "default-src 'none'" in figure["Content-Security-Policy"] and "sandbox" in figure["Content-Security-Policy"]
        assert content(figure)
    for entry in ("files/page.html", "paper.xml", "manifest.xml", "nothing", ""):
        assert viewer.get(address(build, 2, f"figure/?entry={entry}")).status_code == 404
    as_page = viewer.get(address(build, 2, "figure/?entry=files/curve.svg"), headers={"Sec-Fetch-Dest": "document"})
    assert as_page.status_code == 404


ITEM = '<item item-type="article-metadata"><instance href="{}"/></item>'


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        (f"<manifest><!-- {ITEM.format('aaa.xml')} -->{ITEM.format('paper.xml')}</manifest>", "paper.xml"),
        (f"<manifest>{ITEM.format('./paper.xml')}</manifest>".replace('"', "'"), "paper.xml"),
        (f"<manifest>{ITEM.format('bundle/paper.xml')}</manifest>", "first.xml"),
        ("<!-- <item " + "' item-type=\"article-metadata\"'" * 20 + "><instance " + "' hrefx'" * 5 + " -->", "first.xml"),
    ],
    ids=["comment", "quotes", "sources", "broken"],
)
@pytest.mark.django_db
def test_the_article_is_the_file_that_the_checks_of_the_build_have_read(manifest: str, found: str) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in (("aaa.xml", "<other/>"), ("bundle/paper.xml", "<article/>"), ("first.xml", "<!-- x --><article/>")):
            archive.writestr(name, text)
        archive.writestr("paper.xml", jats.article())
        archive.writestr("manifest.xml", manifest)
    build = bundled(data.getvalue())
    _artifact, file = get_kept(build.submission_id, 1, 2)
    assert (entry := articles.find_article(file)) and entry.name == found


def test_a_passing_fault_is_not_kept(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    build = bundled()
    monkeypatch.setattr(article_html, "find_pandoc", lambda: "/nonexistent/pandoc")
    answer = viewer.get(address(build))
    assert articles.INTERRUPTED in answer.text and (answer.status_code, answer["Retry-After"]) == (503, "5")
    monkeypatch.setattr(article_html, "find_pandoc", lambda: "/bin/false")
    assert articles.NOT_RENDERED.replace("'", "&#x27;") in viewer.get(address(build)).text
    monkeypatch.setattr(article_html, "render", None)
    assert articles.NOT_RENDERED.replace("'", "&#x27;") in viewer.get(address(build)).text
