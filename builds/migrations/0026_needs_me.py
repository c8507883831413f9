"""The index of the failures that the list *Needs me* shows. Those of which a later submission of the node has succeeded leave it.

On PostgreSQL the index is created while the service runs. Only such failures are written, some at a time.
"""

from django.db import migrations, models
from django.db.models import Exists, OuterRef
from django.db.models.functions import Coalesce

from builds.migrations._operations import AddIndexBeside

AT_ONCE = 500
STATISTICS = "builds_submission_put_away"


def tell_the_planner(apps, schema_editor):
    """Without it, PostgreSQL takes the two columns for independent. It would read the table until it has found the few failures left."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"CREATE STATISTICS IF NOT EXISTS {STATISTICS} (mcv) ON state, put_away FROM builds_submission")


def do_not_tell(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"DROP STATISTICS IF EXISTS {STATISTICS}")


def put_away(apps, schema_editor):
    submissions = apps.get_model("builds", "Submission").objects
    # Without the index of states: SQLite would read all later successes for each failure, instead of the few of its node.
    outcomes = submissions.alias(outcome=Coalesce("state", "state"))
    later = outcomes.filter(node_uuid=OuterRef("node_uuid"), pk__gt=OuterRef("pk"), outcome="succeeded")
    failed = submissions.filter(Exists(later), state="failed", put_away=False).order_by("pk").values_list("pk", flat=True)
    last = 0
    while found := list(failed.filter(pk__gt=last)[:AT_ONCE]):
        last = found[-1]
        submissions.filter(pk__in=found, state="failed").update(put_away=True)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0025_handling")]

    operations = [
        AddIndexBeside(
            "submission",
            models.Index(fields=["state", "-id"], condition=models.Q(state="failed", put_away=False), name="submission_needs_me"),
        ),
        migrations.RunPython(tell_the_planner, do_not_tell),
        migrations.RunPython(put_away, migrations.RunPython.noop),
    ]
