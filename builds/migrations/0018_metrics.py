"""A table for what the metrics count, and the processor time of builds and workers. Builds of releases before have none."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0017_findings")]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("metric", models.CharField(max_length=60)),
                (
                    "labels",
                    models.CharField(
                        blank=True, help_text="the values of the metric's labels, separated by commas", max_length=200
                    ),
                ),
                (
                    "bucket",
                    models.CharField(
                        blank=True, help_text="of a histogram: the upper bound that it was counted under", max_length=20
                    ),
                ),
                ("count", models.BigIntegerField(default=1)),
                ("amount", models.BigIntegerField(default=0, help_text="microseconds or bytes")),
            ],
            options={"verbose_name_plural": "tallies", "default_permissions": ()},
        ),
        # A column that may be null is added without copying the table, on SQLite too.
        migrations.AddField(
            "build",
            "processor_seconds",
            models.FloatField(
                blank=True, help_text="user and system time of its commands that have ended", null=True
            ),
        ),
        migrations.AddField(
            "worker",
            "processor_seconds",
            models.FloatField(
                db_default=0,
                default=0,
                help_text="user and system time of the worker and all its child processes, ended ones included",
            ),
        ),
    ]
