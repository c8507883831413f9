"""A table for the findings of builds, and how many of them are problems. Codes of causes may have 60 characters.

The release before still writes its warnings into the column that it knows, and pages show both.
"""

import django.db.models.deletion
from django.db import migrations, models

from builds.migrations._operations import AddColumn, Widen
from builds.migrations._roles import VIEWERS, grant

Q = models.Q


def grant_rights(apps, schema_editor):
    grant(apps, VIEWERS, "builds.finding", ("view_finding",))


class Migration(migrations.Migration):
    dependencies = [("builds", "0016_identity")]

    operations = [
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveSmallIntegerField()),
                ("group", models.CharField(max_length=10)),
                ("code", models.CharField(max_length=60)),
                ("severity", models.CharField(max_length=10)),
                ("fault", models.CharField(max_length=12)),
                ("text", models.TextField(help_text="one sentence for an author")),
                ("advice", models.TextField(blank=True)),
                ("file", models.CharField(blank=True, help_text="relative to the repository's root", max_length=300)),
                ("line", models.PositiveIntegerField(blank=True, null=True)),
                ("log_line", models.PositiveIntegerField(blank=True, null=True)),
                ("export", models.CharField(blank=True, max_length=300)),
                (
                    "build",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="findings",
                        to="builds.build",
                    ),
                ),
                (
                    "submission",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="builds.submission",
                    ),
                ),
            ],
            options={
                "ordering": ("position",),
                "default_permissions": ("view",),
                "constraints": [models.UniqueConstraint(fields=("build", "position"), name="finding_position_once")],
                "indexes": [models.Index(fields=["code", "submission"], name="finding_code")],
            },
        ),
        AddColumn(
            "build",
            "problems",
            models.PositiveIntegerField(
                db_default=0, default=0, help_text="broken findings, those that were not kept included"
            ),
        ),
        AddColumn(
            "build",
            "findings_left_out",
            models.PositiveIntegerField(db_default=0, default=0, help_text="findings that were only counted"),
        ),
        AddColumn(
            "submission",
            "problems",
            models.PositiveIntegerField(
                db_default=0, default=0, help_text="broken findings, if the newest build succeeded all the same"
            ),
        ),
        migrations.AddIndex(
            "build",
            models.Index(
                fields=["finished_at"], condition=Q(state="succeeded", problems__gt=0), name="build_with_problems"
            ),
        ),
        migrations.AddIndex(
            "submission", models.Index(fields=["-id"], condition=Q(problems__gt=0), name="submission_with_problems")
        ),
        Widen("build", "cause_code", models.CharField(blank=True, max_length=60)),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
