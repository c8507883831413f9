"""The article of a submission, as it was built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builds.engine.manuscript.built_article import BuiltArticle
from builds.engine.manuscript.exports import Export
from builds.models import Article, Submission
from builds.record import articles, search
from tests.support.rows import submit


def export(path: Path, role: str = "page-content") -> Export:
    return Export(role, path.name, path, path.stat().st_size if path.exists() else 0, "")


def test_it_is_read_from_the_page_content(tmp_path: Path) -> None:
    page = tmp_path / "index.json"
    page.write_text(json.dumps({"frontmatter": {"title": "On tides"}}))
    assert articles.read([export(page, "meca"), export(page)]) == BuiltArticle(title="On tides")
    assert articles.read([export(page, "meca")]) is None
    assert articles.read([export(tmp_path / "gone.json")]) is None


@pytest.mark.django_db
def test_a_submission_without_a_title_gets_the_built_one() -> None:
    named, unnamed = submit("job-1"), submit("job-2")
    Submission.objects.filter(pk=named.pk).update(title="As sent")
    Submission.objects.filter(pk=unnamed.pk).update(title="")
    for submission in (named, unnamed, unnamed):
        articles.keep(submission, BuiltArticle(title="Built tides", keywords=["sea"]))
    assert [Submission.objects.get(pk=each.pk).title for each in (named, unnamed)] == ["As sent", "Built tides"]
    assert Article.objects.get(pk=unnamed.pk).keywords == ["sea"]
    assert search.ids(Submission.objects.all(), "tides", search.Window(10)) == [unnamed.pk]
