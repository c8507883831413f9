"""The web server's settings (gunicorn's names)."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")

from django.conf import settings

bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_WORKERS
worker_class = "gthread"  # a slow client keeps a thread, not the process
threads = 4
preload_app = True  # the processes share what they have loaded
timeout = 60
graceful_timeout = 30
keepalive = 5
control_socket_disable = True
loglevel = "warning"
errorlog = "-"
proc_name = "jobsite-web"
