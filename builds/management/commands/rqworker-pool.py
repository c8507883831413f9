"""``manage.py rqworker-pool`` of django-rq: refused."""

from builds.management.commands._refused import RefusedCommand


class Command(RefusedCommand):
    help = "Not supported."
    advice = (
        "Jobsite does not run worker pools. Set WORKERS and run 'manage.py serve', or start 'manage.py worker' several times."
    )
