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
    BUILD_DOI_URL="no",
    BUILD_CACHE_DAYS="0",  # tests build the same things again and again
    DATA_DIR=str(Path(tempfile.gettempdir()) / f"jobsite-tests-{os.getpid()}"),
)

from jobsite.settings import *  # noqa: F403 - read when the environment is set
from jobsite.static_files import PLAIN_STORAGE

# A hash that is meant to be slow would take most of the time of the tests that sign in.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Static files have their own names here, whether they are collected or not.
STATIC_ROOT, WHITENOISE_USE_FINDERS = None, True
STORAGES["staticfiles"] = {"BACKEND": PLAIN_STORAGE}  # noqa: F405
# They are looked up on request. Listing all of them for each test client took a fifth of the time.
WHITENOISE_AUTOREFRESH = True
