"""The owner and the rank of builds, by which turns are taken, with the indexes for them.

Only unfinished builds get their owner: turns need no older ones. Builds that the release before queues meanwhile have none. They share one
turn and have no limit.
"""

from django.db import migrations, models

from builds.migrations._operations import AddColumn, AddIndexBeside

Q = models.Q


def fill_owners(apps, schema_editor):
    builds = apps.get_model("builds", "Build").objects
    unfinished = builds.filter(state__in=["queued", "running"], owner="")
    for pk, repository in unfinished.values_list("pk", "submission__repository").iterator():
        builds.filter(pk=pk).update(owner=repository.partition("/")[0].lower()[:100])


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("builds", "0020_waiting_indexes")]

    operations = [
        AddColumn(
            "build",
            "owner",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="the repository's owner on GitHub, in lower case",
                max_length=100,
            ),
        ),
        AddColumn(
            "build",
            "rank",
            models.PositiveSmallIntegerField(
                choices=[
                    (0, "before all others, because an admin asked for it"),
                    (1, "a person retried it"),
                    (2, "delivers kept exports"),
                    (3, "in its owner's turn"),
                ],
                db_default=3,
                default=3,
            ),
        ),
        AddIndexBeside(
            "build",
            models.Index(
                fields=["state", "rank", "owner", "created_at", "not_before"],
                condition=Q(started_at=None),
                name="build_turns",
            ),
        ),
        AddIndexBeside(
            "build",
            models.Index(fields=["owner", "finished_at"], condition=Q(started_at__isnull=False), name="build_served"),
        ),
        migrations.RunPython(fill_owners, migrations.RunPython.noop),
    ]
