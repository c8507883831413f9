"""Assembles what a claimed build runs with, from the settings."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from builds.engine.clients.archive import ArchiveHost
from builds.engine.clients.desci import DesciServer
from builds.engine.context import Context, Hosts, Limits, Log, Report
from builds.engine.manuscript.url import ManuscriptUrl
from builds.lib.stop import Stop
from builds.models import Build, Mode, StatusUpdate
from builds.pipeline import isolation
from builds.pipeline.context import Run
from builds.pipeline.lease import Lease
from builds.pipeline.report import StageReport
from builds.record.findings import FindingWriter
from builds.record.logs import LogWriter
from builds.record.masking import redactor
from builds.record.patience import retry_while_away
from builds.record.workspaces import doi_cache, kept_archives, template_cache, workspace_of

# How long one attempt, and so its worker, waits for desci-server. What is left of DELIVERY_PATIENCE is waited for without a worker.
DELIVERY_SECONDS = 10.0


def assemble(claimed: Build, stop: Stop) -> Run:
    """The run of a claimed build."""
    log = LogWriter(claimed, redactor().redact)
    report = StageReport(claimed, redactor().redact)
    context = _context(claimed, log, report, stop)
    findings = FindingWriter(claimed, context.findings, redactor().redact)
    return Run(claimed, log, report, findings, Lease(claimed, log, findings, stop), context)


def _context(claimed: Build, log: LogWriter, report: StageReport, stop: Stop) -> Context:
    # A delivery whose exports are gone builds their commit again.
    source = claimed.source if claimed.mode in (Mode.SAME_COMMIT, Mode.DELIVER) else None
    url = ManuscriptUrl.parse(claimed.submission.url)
    context = context_of(str(claimed.pk), workspace_of(str(claimed.pk)), url, log=log, report=report, stop=stop)
    if claimed.mode == Mode.CLEAN:
        context = _without_shared_caches(context)
    return replace(
        context,
        job_id=claimed.submission.job_id,
        node_uuid=claimed.submission.node_uuid,
        declared_exports=claimed.submission.front_matter.exports,
        pinned_commit=source.commit if source else "",
        pinned_path=source.path if source else "",
        acknowledged=lambda: retry_while_away(lambda: _has_received_update(claimed)),
    )


def _without_shared_caches(context: Context) -> Context:
    """Caches in the workspace instead: they start empty and are removed with it, so the build reads and leaves nothing."""
    own = context.workspace / "cache"
    return replace(
        context,
        archives=None,
        template_cache=context.template_cache and own / "templates",
        doi_cache=context.doi_cache and own / "dois",
    )


def context_of(build_id: str, workspace: Path, url: ManuscriptUrl, *, log: Log, report: Report, stop: Stop) -> Context:
    """What every build gets from the settings, in the service and in a terminal."""
    return Context(
        build_id=build_id,
        job_id=build_id,
        node_uuid=build_id,
        url=url,
        declared_exports=(),
        workspace=workspace,
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
        failing_findings=frozenset(settings.FAILING_FINDINGS),
        redact=redactor().redact,
        sandbox=isolation.sandbox_of(build_id, workspace),
        check_sandbox=isolation.choice().check,
        groups=isolation.groups(),
        archives=kept_archives(),
        template_cache=template_cache() if settings.BUILD_TEMPLATES_URL else None,
        template_service=settings.BUILD_TEMPLATES_URL,
        doi_cache=doi_cache() if settings.BUILD_DOI_URL else None,
        doi_service=settings.BUILD_DOI_URL,
    )


def hosts() -> Hosts:
    """The hosts that builds may reach."""
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
        delivery_seconds=min(DELIVERY_SECONDS, settings.DELIVERY_PATIENCE),
        exports=settings.EXPORTS_MAX,
        exports_bytes=settings.EXPORTS_MAX_BYTES,
        ceilings=isolation.ceilings(),
    )


def _has_received_update(claimed: Build) -> bool:
    """Whether desci-server has received a status update of this build. Until then it rejects the files of a retry."""
    return StatusUpdate.objects.filter(build=claimed, state=StatusUpdate.State.RECEIVED).exists()
