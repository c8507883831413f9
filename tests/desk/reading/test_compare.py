"""Two attempts side by side, and what changed in the text."""

from __future__ import annotations

import json
import re

import pytest
from django.core.cache import caches
from django.test import Client

from builds import lifecycle
from builds.desk.reading import articles, compare
from builds.engine.manuscript import article_html, limited
from builds.models import Build, Mode
from tests.support import jats, made
from tests.support.kept import path_of

needs_pandoc = pytest.mark.skipif(article_html.find_pandoc() is None, reason="pandoc is not installed")


def two_attempts(body: str) -> tuple[Build, Build]:
    """Two delivered attempts. The article of the second has another ``body``."""
    caches["articles"].clear()
    first = made.succeeded()
    lifecycle.retry(first.submission, Mode.LATEST, actor="ada")
    second = made.delivered(made.started(first.submission))
    for build, document in ((first, jats.article()), (second, jats.article(body))):
        bundle = build.artifacts.get(role="meca")
        path_of(bundle).write_bytes(jats.meca(document))
        build.artifacts.filter(pk=bundle.pk).update(sha256=f"{build.number:064}")
    return first, second


def page(client: Client, build: Build, query: str = "") -> str:
    answer = client.get(f"/submissions/{build.submission_id}/compare/{query}")
    assert answer.status_code == 200
    return answer.text


@needs_pandoc
def test_the_newest_two_attempts_are_compared(viewer: Client) -> None:
    first, second = two_attempts(jats.BODY.replace("Mind the gap.", "Mind the &lt;b&gt; gap, please."))
    assert f'href="/submissions/{first.submission_id}/compare/"' in viewer.get(f"/submissions/{first.submission_id}/").text
    shown = page(viewer, second)
    [change] = re.findall(r"<li>(.*?)</li>", shown.partition('class="changes')[2], re.DOTALL)
    assert "<h3><bdi>Introduction</bdi></h3>" in change
    assert "Mind the <del>gap.</del>" in change and "Mind the <ins>&lt;b&gt; gap, please.</ins>" in change
    frames = re.findall(r'<iframe class="pdf" src="([^"]*)"', shown)
    assert frames == [f"/submissions/{first.submission_id}/attempts/{number}/exports/1/raw/" for number in (1, 2)]
    assert "<del>&lt;b&gt; gap, please.</del>" in page(viewer, second, "?old=2&new=1")


@needs_pandoc
def test_texts_that_are_the_same_say_so(viewer: Client) -> None:
    assert "The texts are the same." in page(viewer, two_attempts(jats.BODY)[0], "?old=nonsense&new=99")


def test_what_cannot_be_compared_says_why(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_attempts(jats.BODY)
    assert "Choose two different attempts." in page(viewer, first, "?old=2&new=2")
    monkeypatch.setattr(article_html, "find_pandoc", lambda: None)
    assert f"Attempt 1: {articles.NO_PANDOC}".replace("'", "&#x27;") in page(viewer, first)
    path_of(first.artifacts.get(role="meca")).unlink()
    assert "Attempt 1: Its bundle is no longer kept." in page(viewer, first)
    path_of(second.artifacts.get(role="meca")).unlink()
    path_of(second.artifacts.get(role="typst")).unlink()
    assert "there is nothing to compare" in page(viewer, second)
    assert "Compare two attempts" not in viewer.get(f"/submissions/{first.submission_id}/").text


@pytest.mark.slow
def test_a_comparison_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel limits the CPU time of each, so nobody has to wait for texts that were made for it."""
    repeated = "<p>a</p><p>b</p>" * 20_000
    articles_of = json.dumps({"old": repeated, "new": f"<p>b</p>{repeated}<p>c</p>"})
    assert limited.run("compare_articles.py", articles_of.encode(), seconds=compare.SECONDS) is None
