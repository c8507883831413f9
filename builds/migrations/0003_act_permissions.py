from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("builds", "0002_outbox_hold")]

    operations = [
        migrations.AlterModelOptions(
            name="submission",
            options={
                "ordering": ("-id",),
                "permissions": [
                    ("retry_submission", "Can retry a submission"),
                    ("cancel_submission", "Can cancel a submission"),
                    ("deliver_submission", "Can deliver a submission again"),
                    ("push_submission", "Can send a status update again"),
                ],
            },
        ),
    ]
