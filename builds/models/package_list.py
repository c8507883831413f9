"""The packages of a manuscript's pixi.lock, for what changed since it last worked."""

from __future__ import annotations

from django.db import models

from builds.models.build import Build


class PackageList(models.Model):
    """The versions of the packages of one build by their names.

    Of a manuscript only the newest build's and the last success's are kept: :mod:`builds.record.packages`.
    """

    build = models.OneToOneField(Build, models.CASCADE, primary_key=True, related_name="package_list")
    packages = models.JSONField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"packages of build {self.build_id}"
