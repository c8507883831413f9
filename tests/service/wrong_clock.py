"""What a process with a wrong clock does, as a program: it submits, claims the build and reserves the status update for sending."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import django


def main() -> None:
    django.setup()
    from builds.models import Build, StatusUpdate  # noqa: PLC0415 - needs Django
    from builds.queue import store  # noqa: PLC0415
    from builds.service import outbox  # noqa: PLC0415
    from tests.support.rows import claim, submit  # noqa: PLC0415

    store.enqueue_soon = lambda build_id: None
    build = claim(submit())
    build.refresh_from_db()
    reserved = [update.pk for update in outbox._reserve(4)]
    lease = build.lease_expires_at.timestamp() if build.lease_expires_at else 0.0
    own = {"lease": lease, "reserved": reserved, "wall": datetime.now(UTC).timestamp()}
    own |= {"lost": Build.objects.lost().count(), "due": StatusUpdate.objects.due().count()}
    sys.stdout.write(json.dumps(own))


if __name__ == "__main__":
    main()
