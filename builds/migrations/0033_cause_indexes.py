"""Indexes for the attempts that failed by a cause. On PostgreSQL they are created and removed while the service runs.

``build_failed_by`` lacked the state, so SQLite read each build. Nothing asked by ``build_with_problems``.
"""

from django.db import migrations, models
from django.db.models import Q

from builds.migrations._operations import AddIndexBeside, RemoveIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0032_overview")]

    operations = [
        AddIndexBeside(
            "build",
            models.Index(fields=["cause_code", "submission", "state"], condition=Q(state="failed"), name="build_failed_with"),
        ),
        AddIndexBeside(
            "build",
            models.Index(fields=["cause_code", "state", "-created_at"], condition=Q(state="failed"), name="build_newest_failed"),
        ),
        RemoveIndexBeside("build", "build_failed_by"),
        RemoveIndexBeside("build", "build_with_problems"),
    ]
