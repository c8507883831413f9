"""Indexes for the groups of failures, and for the build cache. On PostgreSQL they are created while the service runs. They have no rows at first."""

from django.db import migrations, models
from django.db.models import Q

from builds.migrations._operations import AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0030_failure_groups")]

    operations = [
        AddIndexBeside(
            "build",
            models.Index(fields=["fingerprint", "-finished_at"], condition=~Q(fingerprint=""), name="build_failed_alike"),
        ),
        AddIndexBeside(
            "submission",
            models.Index(fields=["fingerprint", "-id"], condition=~Q(fingerprint=""), name="submission_alike"),
        ),
        AddIndexBeside(
            "submission",
            models.Index(
                fields=["fingerprint", "-id"], condition=~Q(fingerprint="") & Q(state="failed", put_away=False), name="submission_open_alike"
            ),
        ),
        AddIndexBeside("build", models.Index(fields=["reused"], condition=Q(reused__isnull=False), name="build_reused")),
    ]
