"""Indexes for the admin's filters and for a cause on the desk: each only over the rare rows that are looked for, so small and cheap to keep.

On PostgreSQL they are made while the service goes on; with SQLite a million rows of each table take some seconds.
"""

from django.db import migrations, models

from builds.index_operations import AddIndexBeside

Q = models.Q


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0012_installation_rights")]

    operations = [
        AddIndexBeside("build", models.Index(fields=["mode", "-created_at"], condition=~Q(mode="latest"), name="build_rare_mode")),
        AddIndexBeside("build", models.Index(fields=["-created_at"], condition=Q(automatic=True), name="build_automatic")),
        AddIndexBeside(
            "build", models.Index(fields=["cause_code", "submission"], condition=Q(state="failed"), name="build_failed_by")
        ),
        AddIndexBeside("stage", models.Index(fields=["state", "-id"], condition=~Q(state="succeeded"), name="stage_rare_state")),
        AddIndexBeside("statusupdate", models.Index(fields=["-id"], condition=Q(state="skipped"), name="status_update_skipped")),
        AddIndexBeside("statusupdate", models.Index(fields=["-id"], condition=Q(state="unwanted"), name="status_update_unwanted")),
        AddIndexBeside(
            "submission", models.Index(fields=["-id"], condition=Q(unwanted_at__isnull=False), name="submission_unwanted")
        ),
    ]
