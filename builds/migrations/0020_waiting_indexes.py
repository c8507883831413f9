"""Partial indexes for what a scrape of the metrics counts: waiting and delayed builds, and pending status updates.

They cover only rows that wait, so they are small. On PostgreSQL they are created while the service runs. On SQLite a million builds and
their status updates take some seconds.
"""

from django.db import migrations, models

from builds.migrations._operations import AddIndexBeside

Q = models.Q


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0019_notifications")]

    operations = [
        AddIndexBeside(
            "build",
            models.Index(fields=["state", "created_at"], condition=Q(state="queued", not_before=None), name="build_waiting"),
        ),
        AddIndexBeside(
            "build",
            models.Index(
                fields=["state", "not_before"], condition=Q(state="queued", not_before__isnull=False), name="build_delayed"
            ),
        ),
        AddIndexBeside(
            "statusupdate",
            models.Index(
                fields=["state", "created_at"], condition=Q(state="pending", settled_at=None), name="status_update_oldest_pending"
            ),
        ),
    ]
