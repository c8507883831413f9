"""How each worker sandboxes its builds, for the queue page and /readyz. Workers write their rows themselves, so none is filled in here."""

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
                blank=True, db_default="", default="", help_text="why its builds are not sandboxed better, and what to do"
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="sandbox",
            field=models.CharField(blank=True, db_default="", default="", help_text="the sandbox of its builds", max_length=12),
        ),
    ]
