"""The texts from which letters to authors are drafted, as admins have changed them."""

from __future__ import annotations

from django.db import models


class LetterKind(models.TextChoices):
    """What a letter tells the author. The values are stored, so they never change."""

    FAILED = "failed", "the manuscript can't be built, and the author can correct it"
    PROBLEMS = "problems", "the manuscript was built, with problems"
    SOUND = "sound", "the manuscript was built, and nothing is wrong with it"
    DELAYED = "delayed", "the manuscript can't be built now, and the author has nothing to do"


class LetterTemplate(models.Model):
    """The text of one kind of letter. A kind without a row has the text that Jobsite comes with (:mod:`builds.staff.letters`)."""

    kind = models.CharField(max_length=20, choices=LetterKind.choices, unique=True)
    subject = models.CharField(max_length=200)
    text = models.TextField()

    class Meta:
        ordering = ("kind",)
        default_permissions = ("view", "add", "change", "delete")

    def __str__(self) -> str:
        return f"letter: {self.get_kind_display()}"
