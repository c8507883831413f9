"""What RQ calls. The one place that joins settings, clients and rows."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from types import FrameType
from urllib.parse import unquote, urlsplit

from django.conf import settings

from builds import isolation, lifecycle, pipeline
from builds.clients.archive import ArchiveHost
from builds.clients.desci import DesciServer
from builds.errors import BuildError
from builds.lease import Lease
from builds.logs import LogWriter
from builds.manuscript_url import ManuscriptUrl
from builds.models import Build, Mode
from builds.outbox_models import StatusUpdate
from builds.output import Redactor
from builds.recorder import StageReport
from builds.stages import Context, Hosts, Limits, Stop

logger = logging.getLogger(__name__)

SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|KEY", re.IGNORECASE)


def build(build_id: str) -> None:
    """Run the build, if it still waits for a worker. Its end is written to the database, not returned."""
    worker = os.getppid()
    stop = Stop()
    _stop_on_signal(stop, worker)
    stop.hold_until(time.monotonic() + settings.LEASE_SECONDS)
    claimed = lifecycle.claim(build_id, worker=f"{settings.WORKER_NAME}:{worker}")
    if claimed is None:
        logger.info("build %s is not to be started now", build_id)
        return
    try:
        run = assemble(claimed, stop)
    except Exception:
        logger.exception("build %s can't be begun, by a defect of Jobsite", build_id)
        lifecycle.fail(claimed, BuildError().cause)
    else:
        pipeline.execute(run)


def assemble(claimed: Build, stop: Stop) -> pipeline.Run:
    """Everything that the claimed build runs with."""
    log = LogWriter(claimed, redactor().redact)
    report = StageReport(claimed, redactor().redact)
    context = _context(claimed, log, report, stop)
    return pipeline.Run(claimed, log, report, Lease(claimed, log, stop), context)


def redactor() -> Redactor:
    """Knows all secrets of the service's, and those that its operators let builds have."""
    secrets = [
        settings.SECRET_KEY,
        settings.GITHUB_TOKEN,
        *settings.INTERNAL_SERVICE_SECRETS,
        settings.OIDC_CLIENT_SECRET,
        str(settings.DATABASES["default"].get("PASSWORD") or ""),
        unquote(urlsplit(settings.REDIS_URL).password or ""),
        *(os.environ.get(name, "") for name in settings.BUILD_ENVIRONMENT if SECRET_NAME.search(name)),
    ]
    return Redactor(secret for secret in secrets if secret)


def _stop_on_signal(stop: Stop, worker: int) -> None:
    """An asked-for end of the work-horse ends the build's processes first. So does the death of its worker, which sends it SIGTERM."""

    def end(number: int, frame: FrameType | None) -> None:
        stop.set(pipeline.WORKER_ENDS if os.getppid() == worker else pipeline.WORKER_DIED)

    signal.signal(signal.SIGTERM, end)


def _context(claimed: Build, log: LogWriter, report: StageReport, stop: Stop) -> Context:
    source = claimed.source if claimed.mode == Mode.SAME_COMMIT else None
    return Context(
        build_id=str(claimed.pk),
        job_id=claimed.submission.job_id,
        node_uuid=claimed.submission.node_uuid,
        url=ManuscriptUrl.parse(claimed.submission.url),
        declared_exports=claimed.submission.front_matter.exports,
        workspace=pipeline.workspace_of(str(claimed.pk)),
        limits=limits(),
        archive_host=ArchiveHost(settings.GITHUB_URL, token=settings.GITHUB_TOKEN),
        desci_server=DesciServer(settings.DESCI_SERVER_URL, settings.INTERNAL_SERVICE_SECRET),
        log=log,
        report=report,
        stop=stop,
        build_command=settings.BUILD_COMMAND,
        build_environment={name: os.environ[name] for name in settings.BUILD_ENVIRONMENT if name in os.environ},
        build_network=settings.BUILD_NETWORK,
        build_hosts=hosts(),
        require_declared_exports=settings.REQUIRE_DECLARED_EXPORTS,
        pinned_commit=source.commit if source else "",
        pinned_path=source.path if source else "",
        acknowledged=lambda: _has_heard_of(claimed),
        redact=redactor().redact,
        sandbox=isolation.sandbox_of(str(claimed.pk), pipeline.workspace_of(str(claimed.pk))),
        check_sandbox=isolation.choice().check,
        groups=isolation.groups(),
        template_cache=pipeline.template_cache() if settings.BUILD_TEMPLATES_URL else None,
        template_service=settings.BUILD_TEMPLATES_URL,
    )


def hosts() -> Hosts:
    mirrors = settings.BUILD_PACKAGE_MIRRORS
    private = [*settings.BUILD_NETWORK_PRIVATE_HOSTS, *(urlsplit(mirror).netloc for mirror in mirrors.values())]
    return Hosts(tuple(settings.BUILD_NETWORK_HOSTS), tuple(private), mirrors)


def limits() -> Limits:
    return Limits(
        archive_bytes=settings.ARCHIVE_MAX_BYTES,
        unpacked_bytes=settings.UNPACKED_MAX_BYTES,
        entry_bytes=settings.UNPACKED_MAX_BYTES,
        entries=settings.UNPACKED_MAX_ENTRIES,
        log_bytes=settings.LOG_MAX_BYTES,
        log_bytes_per_second=settings.LOG_MAX_BYTES_PER_SECOND,
        build_seconds=settings.BUILD_TIMEOUT,
        stage_seconds=settings.STAGE_TIMEOUT,
        attempt_seconds=settings.ATTEMPT_TIMEOUT,
        delivery_patience_seconds=settings.DELIVERY_PATIENCE,
        exports=settings.EXPORTS_MAX,
        exports_bytes=settings.EXPORTS_MAX_BYTES,
        ceilings=isolation.ceilings(),
    )


def _has_heard_of(claimed: Build) -> bool:
    """Whether desci-server has received a status update of this very build: before, it would refuse the files of a retry."""
    return StatusUpdate.objects.filter(build=claimed, state=StatusUpdate.State.RECEIVED).exists()
