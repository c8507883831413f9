"""An index for the admin's list of pending status updates, which would otherwise read all updates ever sent."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("builds", "0010_build_indexes")]

    operations = [
        migrations.AddIndex(
            "statusupdate",
            models.Index(fields=["-id"], condition=models.Q(state="pending"), name="status_update_newest_pending"),
        ),
    ]
