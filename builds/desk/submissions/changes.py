"""What changed since the manuscript was last built with success, for the page of a submission that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from builds.engine.findings import Group, Severity
from builds.engine.manuscript.url import compare_link
from builds.lib import units
from builds.models import Artifact, Build, Finding, Stage, State
from builds.record import packages

# A stage or an export that differs by less says nothing.
FACTOR = 2.0
MIN_SECONDS = 10.0
MAX_NAMED = 5
MAX_PACKAGES = 12


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
        *_compare_packages(packages.find(build), packages.find_success(build)),
        *_compare_stages(stages, list(before.stages.all())),
    ]
    return Since(before, changes)


def _find_success(build: Build) -> Build | None:
    """A manuscript is a node's project file: the same repository, and the same path in it where both are known."""
    same = Build.objects.filter(**packages.same_manuscript(build), state=State.SUCCEEDED, created_at__lt=build.created_at)
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
    made = {artifact.name: artifact for artifact in now}
    for old in before:
        new = made.get(old.name)
        if new is None:
            yield Change(f"{old.name} was not made.")
        elif new.pages and old.pages and new.pages != old.pages:
            yield Change(f"{old.name} has {units.counted(new.pages, 'page')}; it had {old.pages:,}.")
        elif _differs(new.size, old.size):
            yield Change(f"{old.name} has {units.size(new.size)}; it had {units.size(old.size)}.")


def _compare_problems(build: Build, before: Build) -> Iterator[Change]:
    broken = Finding.objects.filter(build__in=[build, before], severity=Severity.BROKEN, group=Group.BUILD)
    codes: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for finding in broken:
        codes[finding.build_id == build.pk].setdefault(finding.code, finding.text)
    new = [code for code in codes[True] if code not in codes[False] and code != build.cause_code]
    yield from (Change(f"New problem: {codes[True][code]}") for code in new[:MAX_NAMED])
    if len(new) > MAX_NAMED:
        yield Change(f"And {len(new) - MAX_NAMED} more kinds of problems are new.")


def _compare_packages(now: Mapping[str, str], before: Mapping[str, str]) -> Iterator[Change]:
    """Nothing if one of the two attempts had no pixi.lock, or failed before it was read."""
    if not now or not before:
        return
    other = [f"{name} {now[name]}, it was {before[name]}" for name in sorted(now.keys() & before) if now[name] != before[name]]
    gone = [f"{name} {before[name]} is gone" for name in sorted(before.keys() - now)]
    new = [f"{name} {now[name]} is new" for name in sorted(now.keys() - before)]
    if differ := [*other, *gone, *new]:
        more = f"; and {len(differ) - MAX_PACKAGES} more" if len(differ) > MAX_PACKAGES else ""
        yield Change(f"Other packages in pixi.lock: {'; '.join(differ[:MAX_PACKAGES])}{more}.")


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
