"""What the newest build of a submission says about its article: title, authors, abstract, keywords, licence."""

from __future__ import annotations

from django.db import models

from builds.models.submission import Submission


class Article(models.Model):
    """The front matter of the built page. :mod:`builds.record.articles` writes it.

    A submission that has never been built has none.
    """

    submission = models.OneToOneField(Submission, models.CASCADE, primary_key=True, related_name="article")
    title = models.CharField(max_length=500, blank=True)
    authors = models.JSONField(default=list, help_text="each with name, orcid, and affiliations as texts")
    abstract = models.TextField(blank=True)
    keywords = models.JSONField(default=list)
    licence = models.CharField(max_length=200, blank=True)
    licence_url = models.CharField(max_length=500, blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.title or f"article of {self.submission_id}"
