"""What all tests share: settings that need no installation."""

from __future__ import annotations

import os
import tempfile

# Before Django reads its settings; what the caller sets goes first.
os.environ.setdefault("SECRET_KEY", "a-key-of-the-tests-that-signs-nothing-of-value")
os.environ.setdefault("INTERNAL_SERVICE_SECRET", "test-secret")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")  # nobody listens: the queue store is away unless a test starts one
os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="jobsite-tests-"))
