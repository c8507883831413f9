"""The build cache: finds the kept exports of an earlier build with the same inputs (docs/decisions/build-cache.md)."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from builds.models import Build, CachedResult, clock


def keep(build: Build, key: str) -> None:
    """Let later builds with this key use the result of ``build``, in the transaction in which it succeeds."""
    now = clock.now()
    CachedResult.objects.create(build=build, key=key, made_at=now, used_at=now)


def find(key: str) -> Build | None:
    """The newest build with this key whose result is not too old; None if there is none."""
    since = clock.now() - timedelta(days=settings.BUILD_CACHE_DAYS)
    results = CachedResult.objects.filter(key=key, made_at__gt=since).order_by("-made_at")
    result = results.select_related("build__submission").first()
    return result.build if result else None


def note_use(build: Build) -> None:
    """Note that the result of ``build`` is used now. Does nothing if it is not in the cache."""
    CachedResult.objects.filter(build=build).update(used_at=clock.now())


def drop(build: Build) -> None:
    """Let no later build use the result of ``build``."""
    CachedResult.objects.filter(build=build).delete()


def drop_key(key: str) -> None:
    """Let no later build use a result with this key."""
    CachedResult.objects.filter(key=key).delete()
