"""The search words of submissions."""

from __future__ import annotations

from django.db import models


class SearchWords(models.Model):
    """The words of a submission, kept by :mod:`builds.record.search`. The databases' full-text indexes are built from them."""

    submission = models.OneToOneField("builds.Submission", models.CASCADE, primary_key=True, related_name="search_words")
    words = models.TextField(help_text="lower case, separated by spaces")

    class Meta:
        verbose_name_plural = "search words"

    def __str__(self) -> str:
        return f"words of {self.submission_id}"
