"""Notifications to the operators, and the alarms that they were told of."""

import django.utils.timezone
from django.db import migrations, models

from builds.migrations._roles import ADMINS, grant


def grant_rights(apps, schema_editor):
    grant(apps, ADMINS, "builds.notification", ("view_notification",))


class Migration(migrations.Migration):

    dependencies = [
        ('builds', '0018_metrics'),
    ]

    operations = [
        migrations.CreateModel(
            name='RaisedAlarm',
            fields=[
                ('key', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('since', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Notification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel', models.CharField(choices=[('email', 'Email'), ('webhook', 'Webhook')], max_length=10)),
                ('recipient', models.CharField(blank=True, max_length=254)),
                ('kind', models.CharField(max_length=100)),
                ('subject', models.CharField(max_length=200)),
                ('text', models.TextField()),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('sent', 'Sent'), ('given up', 'Given Up')], default='pending', max_length=10)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('next_try_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('sending_until', models.DateTimeField(blank=True, help_text='reserved for one outbox until then', null=True)),
                ('tries', models.PositiveIntegerField(default=0)),
                ('error', models.TextField(blank=True, help_text='why the last try failed')),
                ('settled_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ('-id',),
                'default_permissions': ('view',),
                'indexes': [models.Index(condition=models.Q(('state', 'pending')), fields=['next_try_at'], name='notification_due'), models.Index(fields=['created_at'], name='notification_age')],
            },
        ),
        migrations.RunPython(grant_rights, migrations.RunPython.noop),
    ]
