"""Loads everything that a page may need when the process starts: an upgrade may replace the files while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, cast

from django.conf import settings
from django.core.files.storage import storages
from django.core.management import BaseCommand
from django.forms.renderers import DjangoTemplates, get_default_renderer
from django.template import TemplateDoesNotExist, TemplateSyntaxError, engines
from django.utils.module_loading import import_string

import builds
from builds.service import fork

# Programs, not modules; what only commands need; and what is loaded where it is used: the storage in a bucket, the description of the API,
# and the figures for Prometheus.
NOT_LOADED = (".tools", ".migrations", ".management", ".exports_bucket", ".api.schema", ".exposition")
# Called at the end. By their names, because this room must not import theirs.
LOADERS = ("builds.api.openapi.load", "builds.api.metrics.load")
# The pages of these packages are replaced by ours, or answered by nobody.
PAGES_OF_OTHERS = ("django_rq/", "drf_spectacular/", "rest_framework/")


@cache
def load_all() -> None:
    """Import every module, and compile every template, once for a process and its forks. Then run Django's checks.

    Django keeps compiled templates unless DEBUG is set. The checks use most of what is loaded: a forked web server that ran them would
    get its own copy of 10 MB.
    """
    for module in walk_packages(builds.__path__, "builds."):
        if not any(part in module.name for part in NOT_LOADED):
            import_module(module.name)
    _import_named()
    storages["exports"]  # the storage that is used, with its module
    _compile_templates()
    for name in LOADERS:
        import_string(name)()
    fork.in_child(_check)


def _check() -> None:
    """End with Django's own message if it finds a mistake. Warnings are printed."""
    BaseCommand().check()


def _import_named() -> None:
    """Import what Django loads by a name in the settings at the first request, and what a worker imports at its start if installed."""
    import_module(settings.ROOT_URLCONF)
    import_module(settings.SESSION_ENGINE)
    caches: dict[str, Any] = settings.CACHES
    backends = [each["BACKEND"] for each in caches.values()]
    for name in (*settings.MIDDLEWARE, *backends, settings.MESSAGE_STORAGE, settings.SESSION_SERIALIZER):
        import_string(name)
    if find_spec("landlockpy"):
        import_module("landlockpy")


def _compile_templates() -> None:
    """Each by the engine that renders it: fields of forms have their own."""
    pages, forms = engines["django"], cast(DjangoTemplates, get_default_renderer()).engine
    for name in _templates(pages):
        if not (_is_of_forms(name) or name.startswith(PAGES_OF_OTHERS)):
            _compile(pages, name)
    for name in filter(_is_of_forms, _templates(forms)):
        _compile(forms, name)


def _is_of_forms(name: str) -> bool:
    return name.startswith("django/forms/") or "/widgets/" in name


def _templates(engine: Any) -> Iterator[str]:
    for folder in map(Path, engine.template_dirs):
        yield from (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _compile(engine: Any, name: str) -> None:
    """Compile a template. Other packages bring some that need packages which are not installed; no page of Jobsite uses those."""
    try:
        engine.get_template(name)
    except (TemplateDoesNotExist, TemplateSyntaxError, UnicodeDecodeError):
        return
