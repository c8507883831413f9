"""Partial indexes for the admin's filters and for a cause on the desk. Each covers only rare rows, so it is small and cheap.

On PostgreSQL they are created while the service runs. On SQLite a million rows of each table take some seconds.
"""

from django.db import migrations, models

from builds.migrations._operations import AddIndexBeside

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
