"""What the overview counts by: the cause of a submission's failure beside its fault, and indexes that cover the figures.

On PostgreSQL the indexes are created while the service runs. Only failed submissions are written, some at a time.
"""

from django.db import migrations, models
from django.db.models import OuterRef, Subquery

from builds.migrations._operations import AddColumn, AddIndexBeside

AT_ONCE = 500
Q, Index = models.Q, models.Index


def repeat_causes(apps, schema_editor):
    """The cause of a failed submission is that of its newest build. A state without a cause means that it changes just now."""
    submissions = apps.get_model("builds", "Submission").objects
    newest = apps.get_model("builds", "Build").objects.filter(submission=OuterRef("pk")).order_by("-number")
    failed = submissions.filter(state="failed").order_by("-pk").values_list("pk", flat=True)
    found = list(failed[:AT_ONCE])
    while found:
        submissions.filter(pk__in=found, state="failed").update(cause_code=Subquery(newest.values("cause_code")[:1]))
        found = list(failed.filter(pk__lt=found[-1])[:AT_ONCE])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0031_failure_group_indexes")]

    operations = [
        AddColumn(
            "submission",
            "cause_code",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="the code of the cause, if the newest build failed",
                max_length=60,
            ),
        ),
        migrations.RunPython(repeat_causes, migrations.RunPython.noop),
        AddIndexBeside(
            "submission", Index(fields=["state", "cause_code", "-id"], condition=~Q(cause_code=""), name="submission_cause")
        ),
        AddIndexBeside("submission", Index(fields=["-id"], condition=Q(subject=""), name="submission_no_subject")),
        AddIndexBeside(
            "submission", Index(fields=["created_at", "state", "problems", "subject"], name="submission_accepted")
        ),
        AddIndexBeside(
            "submission",
            Index(
                fields=["created_at", "cause_code", "state", "put_away"],
                condition=~Q(cause_code=""),
                name="submission_failed_by",
            ),
        ),
        AddIndexBeside(
            "build",
            Index(fields=["submission", "cause_code", "fault"], condition=~Q(cause_code=""), name="build_failed_of"),
        ),
        AddIndexBeside(
            "finding",
            Index(fields=["submission", "code", "severity", "group"], condition=Q(severity="broken", group="build"), name="finding_broken"),
        ),
    ]
