"""Submissions as the service makes them, for the tests of the surfaces."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import timedelta

from django.utils import timezone

from builds import lifecycle
from builds.errors import Cause, Fault
from builds.models import Artifact, Build, Stage, StatusUpdateTry, Submission
from builds.record import search
from tests.support.kept import folder_of

COMMIT = "c0ffee12" * 5
CAUSE = Cause(
    Fault.MANUSCRIPT, "build-failed", "The reference “hopper1953” is not in the bibliography.", "Add it.", "paper.md", 118, 42
)
SCRIPT = "<script>alert(1)</script>"


def submitted(name: str = "1", *, title: str = "", author: str = "Ada Lovelace", node: str = "") -> Submission:
    submission = lifecycle.submit(
        lifecycle.Request(
            job_id=f"job-{name}",
            node_uuid=node or f"node-{name}.",
            url=f"https://github.com/lab/paper-{name}/blob/main/docs/myst.yml",
            repository=f"lab/paper-{name}",
            document={"title": title or f"On builds {name}", "authors": [{"name": author, "orcid": "0000-0002-1825-0097"}]},
        )
    )
    search.index_missing()  # as the reconciler does
    return submission


def queued(name: str = "1") -> Build:
    return submitted(name).newest_build()


def running(name: str = "1", **described: str) -> Build:
    return started(submitted(name, **described))


def started(submission: Submission) -> Build:
    build = lifecycle.claim(str(submission.newest_build().pk), worker="host:1")
    assert build is not None
    lifecycle.pin(build, commit=COMMIT, ref="main", path="docs/myst.yml")
    go_through(build, "fetch", "unpack")
    lifecycle.enter_stage(build, "build")
    return build


def go_through(build: Build, *names: str) -> None:
    for name in names:
        lifecycle.leave_stage(lifecycle.enter_stage(build, name), Stage.State.SUCCEEDED)


def failed(name: str = "1", **described: str) -> Build:
    build = running(name, **described)
    lifecycle.fail(build, CAUSE, stage="build")
    build.refresh_from_db()
    return build


def succeeded(name: str = "1", **described: str) -> Build:
    return delivered(running(name, **described))


def delivered(build: Build) -> Build:
    """Make, keep and deliver the exports of a running build."""
    keep(build, 1, "typst", "exports/paper.pdf", b"%PDF-1.7 content")
    keep(build, 2, "meca", "exports/paper.meca.zip", meca())
    keep(build, 3, "page-content", "index.json", b'{"kind": "Article", "title": "<script>"}')
    lifecycle.leave_stage(build.stages.get(name="build"), Stage.State.SUCCEEDED)
    go_through(build, "collect", "deliver")
    lifecycle.succeed(build)
    build.refresh_from_db()
    return build


def keep(build: Build, position: int, role: str, name: str, data: bytes) -> Artifact:
    folder_of(build).mkdir(parents=True, exist_ok=True)
    file = f"{position}-{role}{name[name.rindex('.') :]}"
    (folder_of(build) / file).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Artifact.objects.create(build=build, role=role, name=name, file=file, size=len(data), sha256=digest, position=position)


def meca() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("manifest.xml", "<manifest><item/></manifest>")
        archive.writestr("content/article.xml", f"<article><!-- {SCRIPT} --><title>T</title></article>")
        archive.writestr("content/evil.html", SCRIPT)
        archive.writestr("content/figure.png", b"\x89PNG\r\n\x1a\n and pixels")
        archive.writestr("content/figure.svg", f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>")
        archive.writestr("../../outside.txt", "a name that leads out")
    return data.getvalue()


def refused(build: Build, tries: int = 1) -> None:
    """Record failed tries of the build's status updates."""
    for update in build.status_updates.all():
        for _ in range(tries):
            StatusUpdateTry.objects.create(status_update=update, code=503, body=f"busy {SCRIPT}", seconds=0.25)
    build.status_updates.update(tries=tries, next_try_at=timezone.now() + timedelta(minutes=5))
