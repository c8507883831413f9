"""A partial index for the list's filter by retries. It covers only the builds after a submission's first, which are few.

On PostgreSQL it is created while the service runs. On SQLite a million builds take a second.
"""

from django.db import migrations, models

from builds.migrations._operations import AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0014_worker_isolation")]

    operations = [
        AddIndexBeside(
            "build",
            models.Index(fields=["automatic", "submission"], condition=models.Q(number__gt=1), name="build_tried_again"),
        ),
    ]
