"""Permissions for the installation as a whole, which belong to no row."""

from __future__ import annotations

from django.db import models


class Installation(models.Model):
    """Holds permissions only; it has no table."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("view_settings", "Can see the settings"),
            ("unlock_account", "Can unlock an account after too many wrong passwords"),
        ]

    def __str__(self) -> str:
        return "the installation"
