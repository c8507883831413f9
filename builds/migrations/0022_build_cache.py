"""The build cache: the results that may be delivered again, and which build delivered one instead of building."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0021_turns")]

    operations = [
        migrations.CreateModel(
            name="CachedResult",
            fields=[
                (
                    "build",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="cached_result",
                        serialize=False,
                        to="builds.build",
                    ),
                ),
                (
                    "key",
                    models.CharField(help_text="a digest of the commit, the recipe, the tools and the settings", max_length=64),
                ),
                ("made_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(help_text="when it was last delivered")),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["key", "-made_at"], name="cached_result_newest")],
            },
        ),
        migrations.AddField(
            "build",
            "reused",
            models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="the build whose result was delivered instead of building the same again",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="builds.build",
            ),
        ),
    ]
