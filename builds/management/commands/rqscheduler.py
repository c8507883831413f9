"""``manage.py rqscheduler`` of django-rq: refused."""

from builds.management.commands._refused import RefusedCommand


class Command(RefusedCommand):
    help = "Not supported."
    advice = "Jobsite does not run scheduled functions. 'manage.py serve' does its own regular work."
