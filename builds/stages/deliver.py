"""The stage deliver: the exports to desci-server, in one request, again until it has them."""

from __future__ import annotations

import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from builds import units, zip_end
from builds.clients.desci import Answer, Outcome, classify
from builds.clients.multipart import FilePart, Multipart, WrongSize
from builds.clients.waiting import Backoff, until_stopped
from builds.errors import (
    BuildError,
    DesciServerDown,
    DesciServerJobFailed,
    DesciServerRefused,
    ExportBroken,
    NobodyWaits,
    SecretRefused,
)
from builds.stages import Context, Export

CONTEXT_PATH = "root"
ROLES = ("pdf", "typst", "meca", "page-content")
ACKNOWLEDGE_POLL_SECONDS = 0.1
# An upload slower than this is broken off and tried again.
BYTES_PER_SECOND_AT_LEAST = 50_000
SEND_SECONDS_AT_LEAST = 120.0


def deliver(ctx: Context, exports: Sequence[Export]) -> None:
    """Send the exports, in the order of CONTRACT §3, and return when desci-server has received them.

    Raises:
        NobodyWaits: it has no such job any more.
        SecretRefused, DesciServerRefused, DesciServerJobFailed: it will not take them.
        DesciServerDown: it did not take them for as long as we are patient.
    """
    backoff = Backoff(ctx.limits.delivery_patience_seconds, first=1.0)
    _wait_until_acknowledged(ctx)
    for attempt in range(1, 1_000_000):
        try:
            answer = _send(ctx, exports)
        except DesciServerDown as error:
            problem: BuildError = error
            ctx.log.line(f"Try {attempt}: {error.sentence} Whether the files arrived is unknown; they are sent again.")
        else:
            ctx.log.line(f"Try {attempt}: desci-server answered {answer} after {answer.seconds:.1f} s.")
            outcome = classify(answer)
            if outcome == Outcome.OK:
                return
            problem = _problem(answer, outcome)
        if not backoff.pause(ctx.stop):
            raise problem


def _problem(answer: Answer, outcome: Outcome) -> BuildError:
    """What to raise if it does not pass; what can't pass is raised at once."""
    if outcome == Outcome.GONE:
        raise NobodyWaits(str(answer))
    if outcome == Outcome.JOB_FAILED:
        raise DesciServerJobFailed(f"desci-server has the import down as failed, and took no files ({answer}).")
    if outcome == Outcome.REFUSED:
        raise DesciServerRefused(f"desci-server refused the files ({answer}).")
    if outcome == Outcome.UNAUTHORIZED:
        return SecretRefused()
    return DesciServerDown(f"desci-server did not take the files ({answer}).")


def _wait_until_acknowledged(ctx: Context) -> None:
    """After a failure the job stands as failed over there until it has heard IN_PROGRESS; until then it takes no files."""
    ends_at = time.monotonic() + ctx.limits.delivery_patience_seconds
    while not ctx.acknowledged():
        if time.monotonic() > ends_at:
            raise DesciServerDown("desci-server did not take the status update that has to come before the files.")
        ctx.stop.wait(ACKNOWLEDGE_POLL_SECONDS)


def _send(ctx: Context, exports: Sequence[Export]) -> Answer:
    """One try, broken off when the build has to stop or the time limit for sending is over."""
    for export in exports:
        if not stat.S_ISREG(export.path.lstat().st_mode):
            raise ExportBroken(f"{export.name} is no ordinary file.", file=export.name)
    with ExitStack() as stack:
        files = [part for export in _in_order(exports) for part in _parts(export, stack)]
        size = sum(part.size for part in files)
        ends_at = time.monotonic() + max(SEND_SECONDS_AT_LEAST, size / BYTES_PER_SECOND_AT_LEAST)

        def check() -> None:
            ctx.stop.check()
            if time.monotonic() > ends_at:
                raise DesciServerDown("desci-server took the files too slowly.")

        body = Multipart(files, {"uuid": ctx.node_uuid, "contextPath": CONTEXT_PATH}, check=check)
        ctx.report.detail(f"{len(files)} files, {units.size(size)}")
        try:
            answer = until_stopped(
                ctx.stop,
                lambda: ctx.desci_server.receive_files(ctx.node_uuid, ctx.job_id, body),
                tick=lambda: ctx.report.progress(body.sent, len(body)),
            )
        except WrongSize as error:
            raise ExportBroken(f"{error} changed its size while it was sent.") from error
        ctx.report.progress(body.sent, len(body))
        return answer


def _in_order(exports: Sequence[Export]) -> list[Export]:
    return sorted(exports, key=lambda export: ROLES.index(export.role))


def _parts(export: Export, stack: ExitStack) -> Iterator[FilePart]:
    """The file; of a MECA all files in it, straight from the zip."""
    if export.role != "meca":
        yield FilePart(export.name, export.path.stat().st_size, lambda: export.path.open("rb"))
        return
    archive = stack.enter_context(zipfile.ZipFile(export.path))
    for info in meca_files(archive):
        yield FilePart(f"{export.name}/{info.filename}", info.file_size, partial(archive.open, info))


def meca_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of a MECA, depth first, each folder's entries in byte order. Of two with one name the later one, as unzip has it."""
    files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    return sorted(files.values(), key=zip_end.order)
