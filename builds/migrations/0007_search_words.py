import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0006_submission_fault")]

    operations = [
        migrations.CreateModel(
            name="SearchWords",
            fields=[
                (
                    "submission",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="search_words",
                        serialize=False,
                        to="builds.submission",
                    ),
                ),
                ("words", models.TextField(help_text="lower case, separated by spaces")),
            ],
            options={"verbose_name_plural": "search words"},
        ),
    ]
