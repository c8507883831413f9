"""The build cache: which results may be delivered again. :mod:`builds.record.build_cache` writes and reads the rows."""

from __future__ import annotations

from django.db import models


class CachedResult(models.Model):
    """A build that succeeded, and what its result depends on. Its kept exports are the result, so a row has no files of its own."""

    build = models.OneToOneField("builds.Build", models.CASCADE, primary_key=True, related_name="cached_result")
    key = models.CharField(max_length=64, help_text="a digest of the commit, the recipe, the tools and the settings")
    made_at = models.DateTimeField()
    used_at = models.DateTimeField(help_text="when it was last delivered")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["key", "-made_at"], name="cached_result_newest")]

    def __str__(self) -> str:
        return f"result of {self.build_id}"
