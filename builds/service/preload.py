"""Loads everything that a page may need when the process starts: an upgrade may replace the files while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from django.conf import settings
from django.core.files.storage import storages
from django.forms.renderers import get_default_renderer
from django.template import TemplateDoesNotExist, TemplateSyntaxError, engines
from django.utils.module_loading import import_string

import builds

# Programs, not modules; what only commands need; and the storage in a bucket, whose packages are installed only where it is used.
NOT_LOADED = (".tools", ".migrations", ".management", ".exports_bucket")


@cache
def load_all() -> None:
    """Import every module, and compile every template, once for a process and its forks.

    Django keeps compiled templates unless DEBUG is set.
    """
    for module in walk_packages(builds.__path__, "builds."):
        if not any(part in module.name for part in NOT_LOADED):
            import_module(module.name)
    _import_named()
    storages["exports"]  # the storage that is used, with its module
    forms: Any = get_default_renderer()
    for engine in (engines["django"], forms.engine):
        for name in _templates(engine):
            _compile(engine, name)


def _import_named() -> None:
    """What Django imports by a name in the settings when the first request comes."""
    import_module(settings.ROOT_URLCONF)
    import_module(settings.SESSION_ENGINE)
    caches: dict[str, Any] = settings.CACHES
    for name in (*settings.MIDDLEWARE, *(each["BACKEND"] for each in caches.values())):
        import_string(name)


def _templates(engine: Any) -> Iterator[str]:
    for folder in map(Path, engine.template_dirs):
        yield from (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _compile(engine: Any, name: str) -> None:
    """Other packages bring templates that need what is not installed; no page of Jobsite uses them."""
    try:
        engine.get_template(name)
    except (TemplateDoesNotExist, TemplateSyntaxError, UnicodeDecodeError):
        return
