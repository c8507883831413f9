"""Filters of the list that a person has saved under a name, and the right to share them with everybody."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import CASCADE

from builds.migrations._roles import ADMINS, grant


def grant_rights(apps, schema_editor):
    grant(apps, ADMINS, "builds.savedview", ("share_savedview",))


class Migration(migrations.Migration):
    dependencies = [("builds", "0026_needs_me"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="SavedView",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(max_length=2000)),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
                "permissions": [("share_savedview", "Can share a view of the list with everybody")],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("user", "name"), name="saved_view_once"),
                    models.UniqueConstraint(condition=Q(user=None), fields=("name",), name="saved_view_shared_once"),
                ],
            },
        ),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
