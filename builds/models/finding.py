"""The findings of a build: what tools and our own checks complained about."""

from __future__ import annotations

from django.db import models

MAX_CODE, MAX_NAME = 60, 300


class Finding(models.Model):
    """One finding of one build, as :class:`builds.engine.findings.Finding` describes it. :mod:`builds.record.findings` writes the rows.

    ``submission`` repeats the build's, so that the list finds the submissions with a code in one index.
    """

    build = models.ForeignKey("builds.Build", models.CASCADE, related_name="findings", db_index=False)
    # Removing a submission removes its builds, and with them these rows.
    submission = models.ForeignKey("builds.Submission", models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False)
    position = models.PositiveSmallIntegerField()
    group = models.CharField(max_length=10)
    code = models.CharField(max_length=MAX_CODE)
    severity = models.CharField(max_length=10)
    fault = models.CharField(max_length=12)
    text = models.TextField(help_text="one sentence for an author")
    advice = models.TextField(blank=True)
    file = models.CharField(max_length=MAX_NAME, blank=True, help_text="relative to the repository's root")
    line = models.PositiveIntegerField(null=True, blank=True)
    log_line = models.PositiveIntegerField(null=True, blank=True)
    export = models.CharField(max_length=MAX_NAME, blank=True)

    class Meta:
        ordering = ("position",)
        default_permissions = ("view",)
        # Also the index of a build's findings.
        constraints = [models.UniqueConstraint(fields=["build", "position"], name="finding_position_once")]
        indexes = [
            models.Index(fields=["code", "submission"], name="finding_code"),
            # For the overview, which counts the submissions of some days by code. It has all columns that the query names.
            models.Index(
                fields=["submission", "code", "severity", "group"],
                condition=models.Q(severity="broken", group="build"),
                name="finding_broken",
            ),
        ]

    def __str__(self) -> str:
        return self.code

    @property
    def words(self) -> str:
        """The text and the advice."""
        return f"{self.text} {self.advice}".strip()
