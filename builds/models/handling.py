"""What the desk does with a submission: who handles it, and whether it is put away."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class HandlingState(models.TextChoices):
    """Why a submission is put away. Empty: it is not, or a later submission of its node has succeeded. The values are stored."""

    OPEN = "", "on the desk"
    WAITING = "waiting", "waiting for the author"
    ASIDE = "aside", "set aside"
    DONE = "done", "dealt with"


class Handling(models.Model):
    """The desk's own state of a submission. A submission without a row is untouched: nobody handles it, and it is not put away.

    ``Submission.put_away`` repeats whether it is put away, so that the list *Needs me* needs no join. Only
    :mod:`builds.lifecycle.handling` writes the two.
    """

    submission = models.OneToOneField("builds.Submission", models.CASCADE, primary_key=True, related_name="handling")
    handler = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="who handles it",
    )
    state = models.CharField(max_length=10, choices=HandlingState.choices, blank=True, default=HandlingState.OPEN)
    until = models.DateField(null=True, blank=True, help_text="the first day (UTC) on which it is back on the desk")
    set_by = models.CharField(max_length=200, blank=True, help_text="who put it away")
    set_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()
        indexes = [
            # For the list "Mine": what is dealt with is no longer on it.
            models.Index(fields=["handler", "-submission"], condition=~Q(state="done"), name="handling_mine"),
            models.Index(fields=["until"], condition=Q(state="aside"), name="handling_until"),
        ]

    def __str__(self) -> str:
        return self.words or "on the desk"

    @property
    def words(self) -> str:
        """Why it is put away; empty if it is not."""
        if self.state == HandlingState.ASIDE and self.until:
            return f"set aside until {self.until:%-d %b %Y}"
        return HandlingState(self.state).label if self.state else ""
