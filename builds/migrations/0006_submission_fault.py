from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0005_queue_control_and_workers")]

    operations = [
        migrations.AddField(
            model_name="submission",
            name="fault",
            field=models.CharField(blank=True, db_default="", default="", help_text="whose fault it is, if the newest build failed", max_length=12),
        ),
        migrations.AddIndex(
            model_name="submission",
            index=models.Index(condition=models.Q(("fault", ""), _negated=True), fields=["fault", "-id"], name="submission_fault"),
        ),
    ]
