"""Tells the outbox of this machine that there is a status update to send, so that it need not poll for one all the time."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from builds.lib import doorbell
from builds.lib.doorbell import Doorbell


def ring() -> None:
    """Wake the outbox. It would find the update by itself a moment later; so do the outboxes of other machines."""
    doorbell.ring(_path())


def listen() -> Doorbell:
    return Doorbell(_path())


def _path() -> Path:
    return Path(settings.DATA_DIR) / "queue" / "outbox.bell"
