"""An index for the list's filter by retries: only over the builds after a submission's first, which are few.

On PostgreSQL it is made while the service goes on; with SQLite a million builds take a second.
"""

from django.db import migrations, models

from builds.index_operations import AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0014_worker_isolation")]

    operations = [
        AddIndexBeside(
            "build",
            models.Index(fields=["automatic", "submission"], condition=models.Q(number__gt=1), name="build_tried_again"),
        ),
    ]
