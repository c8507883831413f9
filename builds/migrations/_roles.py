"""The roles and :func:`grant` as migrations from 0004 on need them. A copy, so that migrations never change."""

from __future__ import annotations

from typing import Any

VIEWERS, EDITORS, ADMINS = "viewers", "editors", "admins"
ROLES = (VIEWERS, EDITORS, ADMINS)


def grant(apps: Any, role: str, model: str, codenames: tuple[str, ...]) -> None:
    """Give a role, and those above it, permissions on a model (``app.model``). ``apps`` holds the models at that migration.

    Missing permissions are created here, because Django creates them only after all migrations have run.
    """
    app_label, model_name = model.split(".")
    kind, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(app_label=app_label, model=model_name)
    permission_model = apps.get_model("auth", "Permission")
    permissions = [
        permission_model.objects.get_or_create(
            content_type=kind, codename=name, defaults={"name": f"Can {name.replace('_', ' ')}"}
        )[0]
        for name in codenames
    ]
    for name in ROLES[ROLES.index(role) :]:
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*permissions)
