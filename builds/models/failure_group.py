"""Failures that are alike, and the releases that were installed. :mod:`builds.record.failure_groups` writes both."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class FailureGroup(models.Model):
    """The attempts that failed alike: with the same code, in the same stage, with the same normalised sentence.

    Its rows are counted when they fail, because counting them for a page would read all of them.
    """

    fingerprint = models.CharField(max_length=16, primary_key=True)
    code = models.CharField(max_length=60)
    stage = models.CharField(max_length=10, blank=True)
    line = models.CharField(max_length=300, help_text="the sentence of the cause without names, paths and numbers")
    fault = models.CharField(max_length=12, help_text="of the newest of them")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    manuscripts = models.PositiveIntegerField(default=0, help_text="nodes with such an attempt")
    upgraded_at = models.DateTimeField(
        null=True, blank=True, help_text="the upgrade that it began after, if it began soon after one"
    )

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["-last_at", "fingerprint"], name="failure_group_newest"),
            models.Index(fields=["fault", "-last_at", "fingerprint"], name="failure_group_fault"),
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.line}"


class Release(models.Model):
    """A release of Jobsite that ran here. It has no number, so its programs and packages say which it is."""

    digest = models.CharField(
        max_length=64, primary_key=True, help_text="of its programs and packages: builds.lib.release.digest"
    )
    first_seen_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.digest[:12]
