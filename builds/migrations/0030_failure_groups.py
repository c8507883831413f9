"""Groups of failures that are alike, and the releases that were installed. Attempts that failed before belong to no group."""

import django.utils.timezone
from django.db import migrations, models

from builds.migrations._operations import AddColumn


class Migration(migrations.Migration):
    dependencies = [("builds", "0029_packages_and_pages")]

    operations = [
        migrations.CreateModel(
            name="FailureGroup",
            fields=[
                ("fingerprint", models.CharField(max_length=16, primary_key=True, serialize=False)),
                ("code", models.CharField(max_length=60)),
                ("stage", models.CharField(blank=True, max_length=10)),
                ("line", models.CharField(help_text="the sentence of the cause without names, paths and numbers", max_length=300)),
                ("fault", models.CharField(help_text="of the newest of them", max_length=12)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("manuscripts", models.PositiveIntegerField(default=0, help_text="nodes with such an attempt")),
                (
                    "upgraded_at",
                    models.DateTimeField(
                        blank=True, help_text="the upgrade that it began after, if it began soon after one", null=True
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["-last_at", "fingerprint"], name="failure_group_newest"),
                    models.Index(fields=["fault", "-last_at", "fingerprint"], name="failure_group_fault"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Release",
            fields=[
                (
                    "digest",
                    models.CharField(
                        help_text="of its programs and packages: builds.lib.release.digest",
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("first_seen_at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
            ],
            options={"default_permissions": ()},
        ),
        AddColumn(
            "build",
            "fingerprint",
            models.CharField(
                blank=True, db_default="", default="", help_text="the failures that it is alike: see FailureGroup", max_length=16
            ),
        ),
        AddColumn(
            "submission",
            "fingerprint",
            models.CharField(
                blank=True, db_default="", default="", help_text="the group of failures, if the newest build failed", max_length=16
            ),
        ),
    ]
