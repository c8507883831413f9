"""Fills the search words and the faults of existing submissions, in batches. Each batch is one transaction."""

from itertools import groupby

from django.db import migrations, transaction

from builds.migrations._search_words import joined

BATCH = 2000
OWN = ("id", "job_id", "node_uuid", "repository", "title", "authors")
OF_BUILD = ("submission_id", "state", "fault", "commit", "ref", "cause", "cause_code", "cause_file")


def fill(apps, schema_editor):
    submission_model = apps.get_model("builds", "Submission")
    last = 0
    while rows := list(submission_model.objects.filter(id__gt=last).order_by("id").values_list(*OWN)[:BATCH]):
        with transaction.atomic():
            fill_batch(apps, rows)
        last = rows[-1][0]


def fill_batch(apps, rows):
    ids = [row[0] for row in rows]
    builds = apps.get_model("builds", "Build").objects.filter(submission_id__in=ids).order_by("submission_id", "-number")
    by_submission = {key: list(group) for key, group in groupby(builds.values_list(*OF_BUILD), key=lambda row: row[0])}
    words = apps.get_model("builds", "SearchWords")
    words.objects.bulk_create(
        [
            words(submission_id=row[0], words=joined([*row[1:], *(text for build in by_submission.get(row[0], ()) for text in build[3:])]))
            for row in rows
        ],
        ignore_conflicts=True,
    )
    faults = {}
    for key, (newest, *_) in by_submission.items():
        if newest[1] == "failed":
            faults.setdefault(newest[2], []).append(key)
    for fault, failed in faults.items():
        apps.get_model("builds", "Submission").objects.filter(id__in=failed, state="failed", fault="").update(fault=fault)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("builds", "0008_search_index")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
