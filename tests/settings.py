"""The settings of the tests: those of the service, with values that need no installation. Each test process has data of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.update(
    SECRET_KEY="a-key-of-the-tests-that-signs-nothing-of-value",
    INTERNAL_SERVICE_SECRET="test-secret",
    REDIS_URL="redis://127.0.0.1:1/0",  # nobody listens: the queue store is away unless a test starts one
    BUILD_TEMPLATES_URL="no",
    DATA_DIR=str(Path(tempfile.gettempdir()) / f"jobsite-tests-{os.getpid()}"),
)

from jobsite.settings import *  # noqa: F403 - read when the environment is set
