"""What the queue page and /readyz say of how each worker shuts its builds in. A row is only a sign of life: nothing is filled in."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0013_rare_rows_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="cgroups",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="the control groups that limit its builds", max_length=8
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="isolation_notes",
            field=models.TextField(
                blank=True, db_default="", default="", help_text="why its builds are not shut in better, and what to do"
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="sandbox",
            field=models.CharField(blank=True, db_default="", default="", help_text="what shuts its builds in", max_length=12),
        ),
    ]
