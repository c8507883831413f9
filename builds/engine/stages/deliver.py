"""The stage deliver: sends the exports to desci-server in one request.

It waits only for a moment if desci-server does not accept them. The attempt then fails and gives its worker back, and a later attempt
delivers the kept exports (:mod:`builds.lifecycle.retrying`).
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from builds.engine.clients.desci import Answer, Outcome, classify, seconds_to_send
from builds.engine.clients.multipart import FilePart, Multipart, WrongSize
from builds.engine.context import Context
from builds.engine.manuscript.exports import Export
from builds.errors import (
    BuildError,
    DesciServerDown,
    DesciServerJobFailed,
    DesciServerRefused,
    ExportBroken,
    NobodyWaits,
    SecretRefused,
)
from builds.lib import units, zips
from builds.lib.waiting import Backoff, until_stopped

CONTEXT_PATH = "root"
ROLES = ("pdf", "typst", "meca", "page-content")
# The pause between two looks at the record, at first and later. An update that is sent at once is received after some 20 ms.
FIRST_POLL_SECONDS, POLL_SECONDS = 0.01, 0.1


def deliver(ctx: Context, exports: Sequence[Export]) -> None:
    """Send the exports in the order of CONTRACT §3. Returns when desci-server has received them.

    Raises:
        NobodyWaits: desci-server no longer has the job.
        SecretRefused, DesciServerRefused, DesciServerJobFailed: desci-server rejected the files.
        DesciServerDown: desci-server did not accept the files within ``delivery_seconds``.
        ExportBroken: an export changed since it was checked.
    """
    backoff = Backoff(ctx.limits.delivery_seconds, first=1.0)
    _wait_until_acknowledged(ctx)
    for number in range(1, 1_000_000):
        try:
            answer = _send(ctx, exports)
        except DesciServerDown as error:
            problem: BuildError = error
            ctx.log.line(f"Try {number}: {error.sentence} It is not known whether the files arrived, so they are sent again.")
        else:
            ctx.log.line(f"Try {number}: desci-server answered {answer} after {answer.seconds:.1f} s.")
            outcome = classify(answer)
            if outcome == Outcome.OK:
                return
            problem = _problem(answer, outcome)
        if not backoff.pause(ctx.stop):
            raise problem


def _problem(answer: Answer, outcome: Outcome) -> BuildError:
    """The error to raise when no time is left to try again. A final error is raised here."""
    if outcome == Outcome.GONE:
        raise NobodyWaits(str(answer))
    if outcome == Outcome.JOB_FAILED:
        raise DesciServerJobFailed(f"desci-server has marked this import as failed and rejected the files ({answer}).")
    if outcome == Outcome.REFUSED:
        raise DesciServerRefused(f"desci-server rejected the files ({answer}).")
    if outcome == Outcome.UNAUTHORIZED:
        return SecretRefused()
    return DesciServerDown(f"desci-server did not accept the files ({answer}).")


def _wait_until_acknowledged(ctx: Context) -> None:
    """Wait until desci-server has received IN_PROGRESS: after a failure it rejects files until then."""
    ends_at, pause = time.monotonic() + ctx.limits.delivery_seconds, FIRST_POLL_SECONDS
    while not ctx.acknowledged():
        if time.monotonic() > ends_at:
            raise DesciServerDown("desci-server did not accept the status update that has to precede the files.")
        ctx.stop.wait(pause)
        pause = min(2 * pause, POLL_SECONDS)


def _send(ctx: Context, exports: Sequence[Export]) -> Answer:
    """Send the files once. Stops when the build has to stop or when sending exceeds its time limit."""
    for export in exports:
        if not export.is_regular():
            raise ExportBroken(f"{export.name} is not an ordinary file.", file=export.name)
    with ExitStack() as stack:
        files = [part for export in _in_order(exports) for part in _parts(export, stack, ctx.limits.entries)]
        size = sum(part.size for part in files)
        ends_at = time.monotonic() + seconds_to_send(size)

        def check() -> None:
            ctx.stop.check()
            if time.monotonic() > ends_at:
                raise DesciServerDown("Sending the files to desci-server took too long.")

        body = Multipart(files, {"uuid": ctx.node_uuid, "contextPath": CONTEXT_PATH}, check=check)
        ctx.report.detail(f"{len(files)} files, {units.size(size)}")
        try:
            answer = until_stopped(
                ctx.stop,
                lambda: ctx.desci_server.receive_files(ctx.node_uuid, ctx.job_id, body),
                tick=lambda: ctx.report.progress(body.sent, len(body)),
            )
        except WrongSize as error:
            raise ExportBroken(f"{error} changed size while it was being sent.") from error
        except zips.DAMAGED as error:
            raise ExportBroken(f"A file of the MECA could not be read while it was being sent ({error}).") from error
        ctx.report.progress(body.sent, len(body))
        return answer


def _in_order(exports: Sequence[Export]) -> list[Export]:
    return sorted(exports, key=lambda export: ROLES.index(export.role))


def _parts(export: Export, stack: ExitStack, max_entries: int) -> Iterator[FilePart]:
    """The export's file or, for a MECA, all files in it, read directly from the zip. It was checked before, but by a program that the file
    could have taken control of."""
    if export.role != "meca":
        yield FilePart(export.name, export.size, export.open)
        return
    try:
        archive = stack.enter_context(zips.opened(stack.enter_context(export.open()), max_entries))
    except zips.NotAnArchive as error:
        raise ExportBroken(f"{export.name} is not an intact zip archive ({error}).", file=export.name) from error
    except zips.TooManyEntries as error:
        raise ExportBroken(
            f"{export.name} contains more than {max_entries} files, the limit of this service.", file=export.name
        ) from error
    for info in meca_files(archive):
        if zips.leads_out(info):
            raise ExportBroken(f"{export.name} contains {info.filename[:300]!r}, a path that leads out of it.", file=export.name)
        yield FilePart(f"{export.name}/{info.filename}", info.file_size, partial(archive.open, info))


def meca_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of a MECA, depth first, each folder's entries in byte order. Of two with the same name the last one, as unzip does."""
    files = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    return sorted(files.values(), key=zips.folder_order)
