"""Indexes for lists of builds by state and time, and for the overview. A million builds take about three seconds."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0009_fill_search")]

    operations = [
        migrations.AddIndex("build", models.Index(fields=["state", "-created_at"], name="build_state")),
        migrations.AddIndex("build", models.Index(fields=["-created_at"], name="build_newest")),
        migrations.AddIndex(
            "build", models.Index(fields=["finished_at", "state", "fault", "cause_code"], name="build_ended")
        ),
    ]
