"""Which user of the sign-in provider an account belongs to."""

from __future__ import annotations

from django.conf import settings
from django.db import models

MAX_SUBJECT_CHARACTERS = 255  # OpenID Connect Core 1.0, section 2


class Identity(models.Model):
    """The provider's user of an account, by the only two claims that never mean another person: issuer and subject.

    An account has at most one. ``email`` is the address at the time of the first sign-in, for people to read.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identity")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=MAX_SUBJECT_CHARACTERS)
    email = models.CharField(max_length=254, blank=True)
    linked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "single sign-on"
        verbose_name_plural = "single sign-on"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["issuer", "subject"], name="identity_once")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
