"""Letters to authors: the texts that admins write, the right to write a letter, and the address that gets the answer."""

from django.db import migrations, models

from builds.migrations._operations import AddColumn
from builds.migrations._roles import ADMINS, EDITORS, grant


def grant_rights(apps, schema_editor):
    grant(apps, EDITORS, "builds.submission", ("write_submission",))
    rights = ("view_lettertemplate", "add_lettertemplate", "change_lettertemplate", "delete_lettertemplate")
    grant(apps, ADMINS, "builds.lettertemplate", rights)


class Migration(migrations.Migration):
    dependencies = [("builds", "0022_build_cache")]

    operations = [
        migrations.CreateModel(
            name="LetterTemplate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("failed", "the manuscript can't be built, and the author can correct it"),
                            ("problems", "the manuscript was built, with problems"),
                            ("sound", "the manuscript was built, and nothing is wrong with it"),
                            ("delayed", "the manuscript can't be built now, and the author has nothing to do"),
                        ],
                        max_length=20,
                        unique=True,
                    ),
                ),
                ("subject", models.CharField(max_length=200)),
                ("text", models.TextField()),
            ],
            options={"ordering": ("kind",), "default_permissions": ("view", "add", "change", "delete")},
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
                ],
            },
        ),
        AddColumn("notification", "reply_to", models.CharField(blank=True, db_default="", default="", max_length=254)),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
