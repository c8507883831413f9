"""What the desk does with a submission: who handles it, whether it is put away, and the right to say so."""

import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import CASCADE, SET_NULL

from builds.migrations._operations import AddColumn
from builds.migrations._roles import EDITORS, grant


def grant_rights(apps, schema_editor):
    grant(apps, EDITORS, "builds.submission", ("handle_submission",))


class Migration(migrations.Migration):
    dependencies = [("builds", "0024_articles"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="Handling",
            fields=[
                (
                    "submission",
                    models.OneToOneField(
                        on_delete=CASCADE, primary_key=True, related_name="handling", serialize=False, to="builds.submission"
                    ),
                ),
                (
                    "handler",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="who handles it",
                        null=True,
                        on_delete=SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "on the desk"),
                            ("waiting", "waiting for the author"),
                            ("aside", "set aside"),
                            ("done", "dealt with"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                ("until", models.DateField(blank=True, help_text="the first day (UTC) on which it is back on the desk", null=True)),
                ("set_by", models.CharField(blank=True, help_text="who put it away", max_length=200)),
                ("set_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["handler", "-submission"], condition=~Q(state="done"), name="handling_mine"),
                    models.Index(fields=["until"], condition=Q(state="aside"), name="handling_until"),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="submission",
            options={
                "ordering": ("-id",),
                "permissions": [
                    ("retry_submission", "Can retry a submission"),
                    ("cancel_submission", "Can cancel a submission"),
                    ("deliver_submission", "Can deliver a submission again"),
                    ("push_submission", "Can send a status update again"),
                    ("write_submission", "Can write to the authors of a submission"),
                    ("handle_submission", "Can handle a submission"),
                ],
            },
        ),
        AddColumn(
            "submission",
            "put_away",
            models.BooleanField(
                db_default=False,
                default=False,
                help_text="nobody has to look at it now: see Handling, or a later one of its node succeeded",
            ),
        ),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
