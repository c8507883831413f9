"""Keeps the packages of a manuscript's pixi.lock: those of its newest build, and those of its last success."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction
from django.db.models import QuerySet

from builds.models import Build, PackageList, State


def same_manuscript(build: Build) -> dict[str, object]:
    """The filter for builds of the same manuscript: a node's repository."""
    return {"submission__node_uuid": build.submission.node_uuid, "submission__repository": build.submission.repository}


@transaction.atomic
def keep(build: Build, packages: Mapping[str, str]) -> None:
    """Store the packages of a running build, and forget those of builds that nothing is compared with any more."""
    if not packages or not Build.objects.filter(pk=build.pk, state=State.RUNNING).exists():
        return
    PackageList.objects.update_or_create(build=build, defaults={"packages": dict(packages)})
    earlier = _earlier(build)
    success = _newest_success(earlier).values_list("pk", flat=True).first()
    earlier.exclude(pk=success).delete()


def find_success(build: Build) -> dict[str, str]:
    """The packages of the last success of the manuscript before ``build`` that read them. Builds that only deliver again do not."""
    kept = _newest_success(_earlier(build)).values_list("packages", flat=True).first()
    return dict(kept or {})


def _earlier(build: Build) -> QuerySet[PackageList]:
    same = {f"build__{name}": value for name, value in same_manuscript(build).items()}
    return PackageList.objects.filter(**same, build__created_at__lt=build.created_at)


def _newest_success(lists: QuerySet[PackageList]) -> QuerySet[PackageList]:
    return lists.filter(build__state=State.SUCCEEDED).order_by("-build__created_at")


def find(build: Build) -> dict[str, str]:
    """The packages of a build; empty if it had none, or if they are no longer kept."""
    kept = PackageList.objects.filter(pk=build.pk).values_list("packages", flat=True).first()
    return dict(kept or {})
