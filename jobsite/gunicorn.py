"""The web server's settings (gunicorn's names)."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")

from django.conf import settings

bind = f"[{settings.HOST}]:{settings.PORT}" if ":" in settings.HOST else f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_WORKERS
worker_class = "jobsite.web_worker.Worker"  # a slow client keeps no thread
threads = 4
worker_connections = settings.WEB_CONNECTIONS
limit_request_line = 4094
forwarder_headers = ""  # a client that is let through by a proxy on this machine would choose where its request seems to go
limit_request_fields = settings.REQUEST_HEADERS_MAX
sendfile = False  # the kernel's way knows no pace
preload_app = True  # the processes share what they have loaded
timeout = 60
graceful_timeout = 30
keepalive = settings.KEEP_ALIVE_SECONDS
control_socket_disable = True
loglevel = "warning"
errorlog = "-"
proc_name = "jobsite-web"
