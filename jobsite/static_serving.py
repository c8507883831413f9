"""How collected static files are named and found. Only the web server needs these imports, and all programs need those of the settings."""

from __future__ import annotations

import re
from functools import cache

from django.contrib.auth.decorators import login_not_required
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_safe
from whitenoise.storage import CompressedManifestStaticFilesStorage

CHECKSUM = re.compile(r"\.[0-9a-f]{12}(?=\.[^./]+$)")


class Storage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # WhiteNoise has no types
    """The names of the collected files."""

    # Finds only imports that end in a semicolon.
    support_js_module_import_aggregation = True


@login_not_required
@require_safe
def redirect_to_this_release(request: HttpRequest, name: str) -> HttpResponse:
    """Redirect a name with the checksum of another release to the file of this one. While servers are upgraded, one may show a page
    whose files another is asked for.

    Raises:
        Http404: this release has no such file.
    """
    plain = CHECKSUM.sub("", name)
    if plain == name or plain not in _names():
        raise Http404
    return HttpResponseRedirect(staticfiles_storage.url(plain))


@cache
def _names() -> frozenset[str]:
    """The own names of all files. The name that is asked for never becomes a path."""
    return frozenset(name for finder in finders.get_finders() for name, _storage in finder.list(None))
