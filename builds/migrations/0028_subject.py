"""The journal field of a submission, from its front matter, for the list's filter. Submissions from before have none."""

from django.db import migrations, models

from builds.migrations._operations import AddColumn, AddIndexBeside


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0027_saved_views")]

    operations = [
        AddColumn(
            "submission",
            "subject",
            models.CharField(
                blank=True, db_default="", default="", help_text="the journal field: the subject of the front matter", max_length=100
            ),
        ),
        AddIndexBeside(
            "submission",
            models.Index(fields=["subject", "-id"], condition=~models.Q(subject=""), name="submission_subject"),
        ),
    ]
