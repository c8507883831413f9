"""What the newest build of a submission says of its article."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0023_letters")]

    operations = [
        migrations.CreateModel(
            name="Article",
            fields=[
                (
                    "submission",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="article",
                        serialize=False,
                        to="builds.submission",
                    ),
                ),
                ("title", models.CharField(blank=True, max_length=500)),
                ("authors", models.JSONField(default=list, help_text="each with name, orcid, and affiliations as texts")),
                ("abstract", models.TextField(blank=True)),
                ("keywords", models.JSONField(default=list)),
                ("licence", models.CharField(blank=True, max_length=200)),
                ("licence_url", models.CharField(blank=True, max_length=500)),
            ],
            options={"default_permissions": ()},
        ),
    ]
