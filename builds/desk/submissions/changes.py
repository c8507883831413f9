"""What changed since the manuscript was last built with success, for the page of a submission that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from builds.engine.findings import Group, Severity
from builds.engine.manuscript.url import compare_link
from builds.lib import units
from builds.models import Artifact, Build, Finding, Stage, State

# A stage or an export that differs by less says nothing.
FACTOR = 2.0
MIN_SECONDS = 10.0
MAX_NAMED = 5


@dataclass(frozen=True)
class Change:
    """One difference. ``link`` leads to the commits on GitHub."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class Since:
    """The last success, and what differs from it: the commits, then the worst first."""

    success: Build
    changes: list[Change]


def since_success(build: Build, stages: Sequence[Stage], artifacts: Sequence[Artifact]) -> Since | None:
    """Compare a failed build with the last success of the same manuscript before it; None if there is none."""
    before = _find_success(build)
    if before is None:
        return None
    changes = [
        *_compare_commits(build, before),
        *_compare_exports(artifacts, list(before.artifacts.all())),
        *_compare_problems(build, before),
        *_compare_stages(stages, list(before.stages.all())),
    ]
    return Since(before, changes)


def _find_success(build: Build) -> Build | None:
    """A manuscript is a node's project file: the same repository, and the same path in it where both are known."""
    same = Build.objects.filter(
        submission__node_uuid=build.submission.node_uuid,
        submission__repository=build.submission.repository,
        state=State.SUCCEEDED,
        created_at__lt=build.created_at,
    )
    if build.path:
        same = same.filter(path=build.path)
    return same.select_related("submission").prefetch_related("stages", "artifacts").order_by("-created_at").first()


def _compare_commits(build: Build, before: Build) -> Iterator[Change]:
    if not build.commit or not before.commit:
        return
    if build.commit == before.commit:
        yield Change("The commit is the same: the repository did not change.")
    else:
        yield Change("The commits since then", compare_link(build.submission.repository, before.commit, build.commit))


def _compare_exports(now: Sequence[Artifact], before: Sequence[Artifact]) -> Iterator[Change]:
    """Nothing if the build failed before it had exports."""
    if not now:
        return
    sizes, sizes_before = ({artifact.name: artifact.size for artifact in some} for some in (now, before))
    for name, size in sizes_before.items():
        if name not in sizes:
            yield Change(f"{name} was not made.")
        elif _differs(sizes[name], size):
            yield Change(f"{name} has {units.size(sizes[name])}; it had {units.size(size)}.")


def _compare_problems(build: Build, before: Build) -> Iterator[Change]:
    broken = Finding.objects.filter(build__in=[build, before], severity=Severity.BROKEN, group=Group.BUILD)
    codes: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for finding in broken:
        codes[finding.build_id == build.pk].setdefault(finding.code, finding.text)
    new = [code for code in codes[True] if code not in codes[False] and code != build.cause_code]
    yield from (Change(f"New problem: {codes[True][code]}") for code in new[:MAX_NAMED])
    if len(new) > MAX_NAMED:
        yield Change(f"And {len(new) - MAX_NAMED} more kinds of problems are new.")


def _compare_stages(now: Sequence[Stage], before: Sequence[Stage]) -> Iterator[Change]:
    known = {stage.name: stage for stage in before}
    pairs = [(stage, known[stage.name]) for stage in now if stage.name in known]
    for stage, old in pairs:
        if stage.command_version and old.command_version and stage.command_version != old.command_version:
            yield Change(f"Other versions of tools: {stage.command_version}. They were {old.command_version}.")
    for stage, old in pairs:
        if stage.seconds - old.seconds > MIN_SECONDS and _differs(stage.seconds, old.seconds):
            yield Change(f"The stage {stage.name} took {units.duration(stage.seconds)}; it took {units.duration(old.seconds)}.")


def _differs(now: float, before: float) -> bool:
    return now > FACTOR * before or before > FACTOR * now
