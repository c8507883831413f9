"""The three roles of the staff: Django groups, each with the permissions of the one before it.

Migrations give the permissions (``builds/migrations/_roles.py``). Pages name the missing role with :func:`role_for`.
"""

from __future__ import annotations

VIEWERS, EDITORS, ADMINS = "viewers", "editors", "admins"
ROLES = (VIEWERS, EDITORS, ADMINS)

# The lowest role that has each permission of the desk.
LOWEST_ROLE = {
    "builds.view_submission": VIEWERS,
    "builds.retry_submission": EDITORS,
    "builds.cancel_submission": EDITORS,
    "builds.deliver_submission": EDITORS,
    "builds.push_submission": EDITORS,
    "builds.write_submission": EDITORS,
    "builds.handle_submission": EDITORS,
}


def role_for(permission: str) -> str:
    """The lowest role that has ``permission``: admins, unless ``LOWEST_ROLE`` names another."""
    return LOWEST_ROLE.get(permission, ADMINS)
