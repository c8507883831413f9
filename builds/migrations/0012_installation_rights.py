"""Lets admins see the settings and the locked accounts, and unlock those. No table changes."""

from django.db import migrations, models

from builds.migrations._roles import ADMINS, grant


def grant_rights(apps, schema_editor):
    grant(apps, ADMINS, "builds.installation", ("view_settings", "unlock_account"))
    grant(apps, ADMINS, "axes.accessattempt", ("view_accessattempt",))
    grant(apps, ADMINS, "axes.accesslog", ("view_accesslog",))


class Migration(migrations.Migration):
    dependencies = [
        ("builds", "0011_newest_pending"),
        ("axes", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Installation",
            fields=[("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))],
            options={
                "managed": False,
                "default_permissions": (),
                "permissions": [
                    ("view_settings", "Can see the settings"),
                    ("unlock_account", "Can unlock an account after too many wrong passwords"),
                ],
            },
        ),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
