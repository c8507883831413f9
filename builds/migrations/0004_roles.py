"""The three roles of the staff, as groups."""

from django.db import migrations

from builds.migrations._roles import ADMINS, EDITORS, ROLES, VIEWERS, grant

RECORD = (
    *("submission", "frontmatter", "build", "stage", "logbatch", "artifact"),
    *("statusupdate", "statusupdatetry", "event"),
)
ACTS = ("retry_submission", "cancel_submission", "deliver_submission", "push_submission")


def make_roles(apps, schema_editor):
    for model in RECORD:
        grant(apps, VIEWERS, f"builds.{model}", (f"view_{model}",))
    grant(apps, EDITORS, "builds.submission", ACTS)
    grant(apps, ADMINS, "auth.user", ("view_user", "add_user", "change_user"))
    grant(apps, ADMINS, "auth.group", ("view_group",))


def remove_roles(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name__in=ROLES).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0003_act_permissions"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(make_roles, remove_roles)]
