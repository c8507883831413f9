"""Uses the build cache for one running build: what its result depends on, and the result of an earlier build with the same inputs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

from builds import lifecycle
from builds.engine.context import Context
from builds.engine.manuscript.exports import Export
from builds.engine.myst import toolchain
from builds.errors import Fault
from builds.lib import release
from builds.models import Build, Mode
from builds.pipeline import isolation
from builds.pipeline.context import Run
from builds.record import build_cache, findings, kept_exports

# What builds may start. Other programs of the machine are not looked at, so the age of a result is limited too.
PROGRAMS = (
    *("myst", "node", "npm", "typst", "pixi", "python3", "git", "sh"),
    *("gs", "magick", "convert", "inkscape", "tectonic", "latexmk", "pdflatex", "xelatex", "lualatex", "bibtex", "biber"),
)
DAMAGED = "The result of {made} is gone or damaged, so this commit is built again."
REUSED = (
    "{made} has already built this commit with the same recipe, tools and settings, at {at:%Y-%m-%d %H:%M} UTC. Its exports are delivered "
    "again, without a build. To build it anyway, retry it in the mode clean."
)


class ResultCache:
    """The build cache as one build sees it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._found: Build | None = None

    def has_result(self, commit: str, path: str) -> bool:
        """Whether an earlier build has built the project file ``path`` of this commit in the same way. A clean build reuses nothing."""
        if not settings.BUILD_CACHE_DAYS:
            return False
        key = self._run.cache_key = key_of(self._run.context, commit, path)
        if self._run.build.mode == Mode.CLEAN:
            self._run.write(lambda: build_cache.drop_key(key))
            return False
        self._found = self._run.write(lambda: build_cache.find(key))
        if not self._found:
            self._count(hits=0, misses=1)
        return self._found is not None

    def take(self) -> Sequence[Export]:
        """The exports of the result that was found, with its findings. None if it is gone or damaged; it is dropped then."""
        source = self._found
        if source is None:
            return ()
        run, made = self._run, f"Attempt {source.number} of {source.submission.job_id}"
        exports = kept_exports.take_over(run.build, source, check=run.context.stop.check)
        self._count(hits=int(bool(exports)), misses=int(not exports))
        if not exports:
            run.log.line(DAMAGED.format(made=made.lower()))
            run.write(lambda: build_cache.drop(source))
            return ()
        findings.take_over(source, run.context.findings)
        run.write(lambda: lifecycle.reuse(run.build, source))
        run.log.line(REUSED.format(made=made, at=source.finished_at))
        run.cache_key = ""
        return exports

    def _count(self, *, hits: int, misses: int) -> None:
        self._run.report.looked_up("build", hits=hits, misses=misses)


def key_to_keep(run: Run) -> str:
    """The key under which the result of a successful build may be used again; empty if it may not.

    A finding that is not the manuscript's may be gone tomorrow: a DOI that could not be looked up, a template that was not available.
    """
    is_lasting = all(finding.fault is Fault.MANUSCRIPT for finding in run.context.findings.kinds)
    return run.cache_key if run.cache_key and is_lasting and not release.has_changed() else ""


def key_of(context: Context, commit: str, path: str) -> str:
    """A digest of everything that the result depends on. Not of time limits, which decide only whether there is one.

    It is keyed, because it covers the values of variables that may be secrets.
    """
    limits = context.limits
    parts = {
        "host": settings.GITHUB_URL,
        "repository": context.url.slug.lower(),  # GitHub ignores the case of names
        "commit": commit,
        "path": path,
        "exports": context.declared_exports,
        "command": context.build_command,
        "environment": dict(context.build_environment),
        "network": [
            context.build_network,
            context.build_hosts.listed,
            context.build_hosts.private,
            dict(context.build_hosts.mirrors),
        ],
        "services": [context.template_service, context.doi_service],
        "failing": sorted(context.failing_findings),
        "limits": [limits.archive_bytes, limits.unpacked_bytes, limits.entries, limits.exports, limits.exports_bytes],
        "sandbox": [isolation.choice().kind, settings.BUILD_READABLE],
        "release": release.digest(),
        "programs": list(_programs()),
    }
    return salted_hmac("builds.build-cache", json.dumps(parts, sort_keys=True), algorithm="sha256").hexdigest()


def _programs() -> Iterator[tuple[Any, ...]]:
    """The programs that builds may start, by size and time: a version would need a process each."""
    path = os.pathsep.join([toolchain.environment(Path(), extra={}, network=False)["PATH"], os.environ.get("PATH", "")])
    for name in PROGRAMS:
        if found := shutil.which(name, path=path):
            yield name, *_size_and_time(found)
    # The commands of tools/bin-node stay the same when these change.
    for name, found in toolchain.node_programs().items():
        yield name, *_size_and_time(found)


def _size_and_time(path: str) -> tuple[int, int]:
    about = Path(path).stat()
    return about.st_size, about.st_mtime_ns
