"""Pausing the queue, and the workers' signs of life. It adds only tables, so the previous release still works."""

import django.utils.timezone
from django.db import migrations, models

from builds.migrations._roles import ADMINS, VIEWERS, grant

MODELS = ("queuecontrol", "queuechange", "worker")
ACTS = ("pause_queue", "drain_queue")


def grant_rights(apps, schema_editor):
    for model in MODELS:
        grant(apps, VIEWERS, f"builds.{model}", (f"view_{model}",))
    grant(apps, ADMINS, "builds.queuecontrol", ACTS)


class Migration(migrations.Migration):
    dependencies = [("builds", "0004_roles")]

    operations = [
        migrations.CreateModel(
            name="QueueChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("paused", "Paused"), ("draining", "Draining"), ("resumed", "Resumed")], max_length=10
                    ),
                ),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={"ordering": ("-id",), "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=200)),
                ("pid", models.PositiveIntegerField()),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField(db_index=True)),
                ("memory_bytes", models.BigIntegerField(default=0, help_text="of the worker and all its child processes")),
                (
                    "ending",
                    models.BooleanField(default=False, help_text="stopping: it finishes its build first"),
                ),
            ],
            options={"ordering": ("name",), "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            name="QueueControl",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("paused_at", models.DateTimeField(blank=True, null=True)),
                ("paused_by", models.CharField(blank=True, max_length=200)),
                ("reason", models.TextField(blank=True)),
                (
                    "draining",
                    models.BooleanField(
                        default=False, help_text="paused until no build runs, to stop or replace the workers"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "queue control",
                "permissions": [
                    ("pause_queue", "Can pause and resume the queue"),
                    ("drain_queue", "Can drain the queue"),
                ],
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="queue_control_once"),
                    models.CheckConstraint(
                        condition=models.Q(("draining", False), ("paused_at__isnull", False), _connector="OR"),
                        name="queue_draining_is_paused",
                    ),
                ],
            },
        ),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
