"""Filters of the list of submissions that a person has saved under a name."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class SavedView(models.Model):
    """The filters, as the query string of the list. It has a tab for ``user`` only, or for everybody if there is none."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+", db_index=False)
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000)

    class Meta:
        ordering = ("name",)
        default_permissions = ()
        permissions = [("share_savedview", "Can share a view of the list with everybody")]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="saved_view_once"),
            models.UniqueConstraint(fields=["name"], condition=Q(user=None), name="saved_view_shared_once"),
        ]

    def __str__(self) -> str:
        return self.name
