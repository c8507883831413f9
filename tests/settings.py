"""The settings of the tests: those of the service, with values that need no installation. Each test process has data of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

DATA = tempfile.mkdtemp(prefix="jobsite-tests-")
atexit.register(shutil.rmtree, DATA, ignore_errors=True)

os.environ.update(
    SECRET_KEY="a-key-of-the-tests-that-signs-nothing-of-value",
    INTERNAL_SERVICE_SECRET="test-secret",
    REDIS_URL="redis://127.0.0.1:1/0",  # nobody listens: the queue store is away unless a test starts one
    DATA_DIR=DATA,
)

from jobsite.settings import *  # noqa: E402, F403 - read when the environment is set
