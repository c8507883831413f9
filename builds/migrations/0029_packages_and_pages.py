"""The packages of a manuscript's pixi.lock, and the pages of a PDF, for what changed since it last worked."""

import django.db.models.deletion
from django.db import migrations, models

from builds.migrations._operations import AddColumn


class Migration(migrations.Migration):
    dependencies = [("builds", "0028_subject")]

    operations = [
        AddColumn(
            "artifact",
            "pages",
            models.IntegerField(db_default=0, default=0, help_text="pages of a PDF; 0 for others, and for PDFs of older releases"),
        ),
        migrations.CreateModel(
            name="PackageList",
            fields=[
                (
                    "build",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="package_list",
                        serialize=False,
                        to="builds.build",
                    ),
                ),
                ("packages", models.JSONField()),
            ],
            options={"default_permissions": ()},
        ),
    ]
