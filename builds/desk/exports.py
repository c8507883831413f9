"""The exports that a build made: to take away, and to look at.

They are a stranger's files. None is ever shown as HTML: a file leaves us as a download, or, if its first bytes say that it is one, as a
PDF or an image; text is shown as text in a page of ours, and everything has a policy that lets nothing of it run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from builds import front_matter
from builds.desk import bundle, preview
from builds.desk.access import desk_page
from builds.models import Artifact, Build

NAMES = {"pdf": "PDF", "typst": "PDF (Typst)", "meca": "MECA bundle", "page-content": "page content"}
# Nothing of what is sent runs, loads anything, or is shown in a page of somebody else's.
NOTHING_RUNS = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
# Chromium's own viewer of PDFs does not start in a sandbox; a PDF is never a page.
PDF_POLICY = (
    "default-src 'none'; object-src 'self'; plugin-types application/pdf; style-src 'unsafe-inline'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Shown:
    """An export as pages name it."""

    artifact: Artifact
    is_kept: bool
    address: str

    @property
    def kind(self) -> str:
        return NAMES.get(self.artifact.role, self.artifact.role)


def shown(artifact: Artifact, build: Build) -> Shown:
    artifact.build = build
    return Shown(artifact, kept_file(artifact) is not None, _address(build, artifact))


def _address(build: Build, artifact: Artifact) -> str:
    return reverse("desk:export", args=[build.submission_id, build.number, artifact.position])


def kept_file(artifact: Artifact) -> Path | None:
    """The artifact's own file among its build's kept exports; None where it is gone, or the row names anything else."""
    is_own = artifact.file == Path(artifact.file).name and artifact.path.is_file() and not artifact.path.is_symlink()
    return artifact.path if is_own else None


def _found(pk: int, number: int, position: int) -> tuple[Artifact, Path]:
    artifact = get_object_or_404(
        Artifact.objects.select_related("build__submission"), build__submission=pk, build__number=number, position=position
    )
    file = kept_file(artifact)
    if file is None:
        raise Http404(f"The file is not there any more. Exports are kept for {settings.EXPORTS_KEPT_DAYS} days.")
    return artifact, file


@require_safe
@desk_page()
def download(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponseBase:
    artifact, file = _found(pk, number, position)
    name = front_matter.clean(PurePosixPath(artifact.name).name, 200)
    name = name if name.endswith(file.suffix) else name + file.suffix
    response = FileResponse(file.open("rb"), as_attachment=True, filename=name, content_type="application/octet-stream")
    response["Content-Security-Policy"] = NOTHING_RUNS
    return response


@require_safe
@desk_page()
def raw(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponseBase:
    """A PDF or an image itself, for the page that shows it; of a bundle the ``entry`` that is asked for."""
    artifact, file = _found(pk, number, position)
    entry = request.GET.get("entry")
    source = bundle.Entry.of(file, entry) if entry else None
    kind = preview.kind_of(source.beginning() if source else preview.beginning(file), source.name if source else artifact.file)
    if not kind.media_type:
        raise Http404
    name = front_matter.clean(PurePosixPath(entry or artifact.file).name, 200)
    response: HttpResponseBase = StreamingHttpResponse(source.chunks()) if source else FileResponse(file.open("rb"))
    response["Content-Type"] = kind.media_type
    response["Content-Disposition"] = content_disposition_header(False, name) or "inline"
    response["Content-Security-Policy"] = PDF_POLICY if kind.is_pdf else NOTHING_RUNS
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["Cache-Control"] = "private, max-age=300"
    return response


@require_safe
@desk_page()
def preview_page(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponse:
    """What an export holds, in a page of ours; of a bundle its tree, or one file of it."""
    artifact, file = _found(pk, number, position)
    entry = request.GET.get("entry")
    address = _address(artifact.build, artifact)
    context = {
        "submission": artifact.build.submission,
        "build": artifact.build,
        "export": Shown(artifact, True, address),
        "entry": entry or "",
        **_content(file, entry, address),
    }
    response = render(request, "desk/preview.html", context)
    response._csp_update = {"frame-src": ["'self'"]}  # type: ignore[attr-defined]  # read by django-csp
    return response


def _content(file: Path, entry: str | None, address: str) -> dict[str, Any]:
    source = bundle.Entry.of(file, entry) if entry else None
    start = source.beginning() if source else preview.beginning(file)
    kind = preview.kind_of(start, source.name if source else file.name)
    raw_address = f"{address}raw/" + (f"?{preview.query(entry)}" if entry else "")
    if kind.media_type:
        return {"pdf" if kind.is_pdf else "image": raw_address}
    if kind.is_bundle and not entry:
        return {"tree": bundle.tree(file)}
    if kind.is_text:
        return {"text": preview.text(source.read(preview.MOST_TEXT + 1) if source else preview.read(file), kind)}
    return {"nothing": True}
