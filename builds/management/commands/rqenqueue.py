"""``manage.py rqenqueue`` of django-rq: refused."""

from builds.management.commands._refused import RefusedCommand


class Command(RefusedCommand):
    help = "Not supported."
    advice = "Jobsite runs builds only, never other functions. Submit through the API, or retry a build on the desk."
