"""``manage.py worker``: takes builds from the queue, one at a time."""

from __future__ import annotations

import os
import uuid
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections
from redis import Redis

from builds import tasks  # noqa: F401 - a work-horse has it from here, of this release, also while another is being installed
from builds.queue import queue_over
from builds.worker import JobsiteWorker


class Command(BaseCommand):
    help = "Run one worker: it takes builds from the queue, one at a time, until it is told to end."

    def handle(self, *args: Any, **options: Any) -> None:
        connection = Redis.from_url(settings.REDIS_URL)
        queue = queue_over(connection)
        name = f"{settings.WORKER_NAME}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        connections.close_all()  # a fork must not inherit an open connection
        JobsiteWorker([queue], connection=connection, name=name).work(with_scheduler=False, logging_level="WARNING")
