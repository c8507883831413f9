"""Rows as the service writes them, and signed-in clients."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from builds import lifecycle
from builds.engine.findings import Finding, Severity
from builds.errors import Cause, Fault
from builds.lifecycle import Request
from builds.models import Artifact, Build, Stage, StatusUpdateTry, Submission
from builds.record import search
from builds.record.logs import LogWriter
from tests.support.found import write_findings
from tests.support.kept import folder_of

BIDI = "safe\u202egnp.exe"
SCRIPT = "<script>alert(1)</script>"
COMMIT = "c0ffee" * 6 + "abcd"
CAUSE = Cause(Fault.MANUSCRIPT, "build-failed", f"It broke at {SCRIPT} {BIDI}.", "Mend it.", "paper.md", 12, 2)

MakeBuild = Callable[..., Build]


@pytest.fixture(autouse=True)
def _data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def admin_page(client: Client, superuser: User) -> Client:
    """A client signed in as a superuser."""
    client.force_login(superuser)
    return client


@pytest.fixture
def staff_page(db: None) -> Callable[..., Client]:
    """Returns a client signed in as staff with the named permissions."""

    def sign_in(*permissions: str) -> Client:
        user = User.objects.create_user(f"staff {'-'.join(permissions)}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def submit(name: str = "1", **document: Any) -> Submission:
    document = {"title": f"On builds {name}", "authors": [{"name": "Ada", "orcid": "0000-0001"}], **document}
    url = f"https://github.com/lab/paper-{name}/blob/main/myst.yml"
    submission = lifecycle.submit(Request(f"job-{name}", f"node-{name}.", url, f"lab/paper-{name}", document))
    search.index_missing()  # as the reconciler does
    return submission


def claimed(submission: Submission) -> Build:
    build = lifecycle.claim(str(submission.newest_build().pk), worker="worker-7")
    assert build is not None
    lifecycle.pin(build, commit=COMMIT, ref="main", path="myst.yml")
    return build


def ran(build: Build, lines: tuple[str, ...] = ("first", "second")) -> None:
    """A stage with a command, a log and an export."""
    stage = lifecycle.enter_stage(build, "build")
    log = LogWriter(build, lambda text: text)
    log.stage = "build"
    for line in lines:
        log.line(line, stream="stderr")
    write_findings(build, Finding("a-code", Severity.NOTICE, f"Beware of {SCRIPT}."))
    log.line("third")
    log.flush()
    Stage.objects.filter(pk=stage.pk).update(
        detail="Two exports.", command="myst build --meca", command_version="1.11.0", exit_code=1, peak_memory_bytes=256_500_000
    )
    lifecycle.leave_stage(stage, Stage.State.SUCCEEDED)
    keep(build)


def keep(build: Build) -> Artifact:
    folder_of(build).mkdir(parents=True)
    (folder_of(build) / "1-pdf.pdf").write_bytes(b"%PDF-1.7")
    return Artifact.objects.create(
        build=build, role="pdf", name="exports/a.pdf", file="1-pdf.pdf", size=8, sha256="ab" * 32, position=1
    )


@pytest.fixture
def failed(db: None) -> MakeBuild:
    """Returns a function that makes a failed build whose status update desci-server received on the second try."""

    def make(name: str = "1", **document: Any) -> Build:
        build = claimed(submit(name, **document))
        ran(build)
        lifecycle.fail(build, CAUSE, stage="build")
        for update in build.status_updates.all():
            StatusUpdateTry.objects.create(status_update=update, code=503, body=f"busy {SCRIPT}", seconds=0.25)
        build.status_updates.update(tries=1, next_try_at=timezone.now() + timedelta(minutes=5))
        build.refresh_from_db()
        return build

    return make


@pytest.fixture
def build(failed: MakeBuild) -> Build:
    return failed()
