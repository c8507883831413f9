"""Keeps what a build says about its article, so that pages show it without reading the exports."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict

from django.db import transaction

from builds.engine.manuscript import built_article
from builds.engine.manuscript.built_article import BuiltArticle
from builds.engine.manuscript.exports import Export
from builds.errors import BuildError
from builds.models import Article, Submission
from builds.record import search

logger = logging.getLogger(__name__)

# A longer page is delivered, but its front matter is not shown.
MAX_PAGE_BYTES = 32 << 20


def read(exports: Iterable[Export]) -> BuiltArticle | None:
    """The article of the page content among the exports. None if there is none, or it can't be read: no build fails for that."""
    page = next((export for export in exports if export.role == "page-content"), None)
    if page is None or page.size > MAX_PAGE_BYTES:
        return None
    try:
        with page.open() as file:
            return built_article.read(file.read(MAX_PAGE_BYTES))
    except (BuildError, OSError) as error:
        logger.warning("the page content %s can't be read: %s", page.path, error)
        return None


@transaction.atomic
def keep(submission: Submission, article: BuiltArticle) -> None:
    """Write the article's row. A submission without a title gets the built one, and is found by it."""
    fields = asdict(article)
    row = Article(submission=submission, **fields)
    Article.objects.bulk_create([row], update_conflicts=True, unique_fields=["submission"], update_fields=list(fields))
    if article.title and Submission.objects.filter(pk=submission.pk, title="").update(title=article.title):
        search.index(submission.pk)
