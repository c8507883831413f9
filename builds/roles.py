"""Who may do what: three groups, each with the rights of the one before.

Migrations give the rights with :func:`grant`; pages name the role that is missing with :func:`role_for`.
"""

from __future__ import annotations

from typing import Any

VIEWERS, EDITORS, ADMINS = "viewers", "editors", "admins"
ROLES = (VIEWERS, EDITORS, ADMINS)

# The lowest role that has a right of the desk.
LOWEST_ROLE = {
    "builds.view_submission": VIEWERS,
    "builds.retry_submission": EDITORS,
    "builds.cancel_submission": EDITORS,
    "builds.deliver_submission": EDITORS,
    "builds.push_submission": EDITORS,
}


def role_for(permission: str) -> str:
    """The lowest role that has ``permission``; what nobody is named for is the admins'."""
    return LOWEST_ROLE.get(permission, ADMINS)


def grant(apps: Any, role: str, model: str, codenames: tuple[str, ...]) -> None:
    """Give a role, and those above it, rights on a model (``app.model``). For migrations: ``apps`` are the models as they are then.

    The permissions are made here where they are missing, because Django makes them only when all migrations are through.
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
