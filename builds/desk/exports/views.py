"""Downloads and previews of an attempt's files.

The files are untrusted, so none is ever sent as HTML. A file is a download, or a PDF or image if its first bytes prove it. Text is
escaped within our own page. The content security policy of every response forbids scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe

from builds.desk.access import desk_page
from builds.desk.exports import bundle, preview
from builds.lib.text import one_line
from builds.models import Artifact, Build, Finding
from builds.record import kept_exports
from builds.record.kept_exports import KeptFile

PDF_ROLES = ("pdf", "typst")
NAMES = {"pdf": "PDF", "typst": "PDF (Typst)", "meca": "MECA bundle", "page-content": "page content"}
# The file runs no scripts, loads nothing, and is not shown in pages of other sites.
SANDBOX_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"
# Chromium's PDF viewer does not start in a sandbox. A PDF is never treated as HTML.
PDF_POLICY = (
    "default-src 'none'; object-src 'self'; plugin-types application/pdf; style-src 'unsafe-inline'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class ShownFile:
    """A file as pages show it."""

    artifact: Artifact
    is_kept: bool
    address: str
    notes: Sequence[str] = ()

    @classmethod
    def of(cls, artifact: Artifact, build: Build, found: Iterable[Finding] = ()) -> ShownFile:
        """``found``: the findings of the build that are noted at the export that they name."""
        artifact.build = build
        address = reverse("desk:export", args=[build.submission_id, build.number, artifact.position])
        named = (artifact.role, artifact.name, PurePosixPath(artifact.name).name)
        notes = [finding.text for finding in found if finding.export in named]
        return cls(artifact, kept_exports.is_kept(artifact), address, notes)

    @property
    def kind(self) -> str:
        return NAMES.get(self.artifact.role, self.artifact.role)


def choose_pdf(files: Iterable[ShownFile]) -> ShownFile | None:
    """The PDF to read: the author's own before the one that Jobsite adds. None if none is kept."""
    pdfs = (file for file in files if file.is_kept and file.artifact.role in PDF_ROLES)
    return min(pdfs, key=lambda file: PDF_ROLES.index(file.artifact.role), default=None)


def get_kept(pk: int, number: int, position: int) -> tuple[Artifact, KeptFile]:
    """The artifact with its build, and its file.

    Raises:
        Http404: there is no such artifact, or its file is no longer kept.
    """
    artifact = get_object_or_404(
        Artifact.objects.select_related("build__submission"), build__submission=pk, build__number=number, position=position
    )
    file = kept_exports.find(artifact)
    if file is None:
        raise Http404(f"This file is no longer kept. Jobsite keeps files for {settings.EXPORTS_KEPT_DAYS} days.")
    return artifact, file


@require_safe
@desk_page()
def export_file(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponseBase:
    artifact, file = get_kept(pk, number, position)
    name = one_line(PurePosixPath(artifact.name).name, 200)
    name = name if name.endswith(file.suffix) else name + file.suffix
    response = FileResponse(file.open(), as_attachment=True, filename=name, content_type="application/octet-stream")
    response["Content-Security-Policy"] = SANDBOX_POLICY
    return response


@require_safe
@desk_page()
def export_raw(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponseBase:
    """Send a PDF or an image to the page that shows it, or one ``entry`` of a bundle."""
    artifact, file = get_kept(pk, number, position)
    entry = request.GET.get("entry")
    source = bundle.Entry.of(file, entry) if entry else None
    kind = preview.recognise(
        source.read_beginning() if source else preview.read_beginning(file), source.name if source else artifact.file
    )
    if not kind.media_type:
        raise Http404
    name = one_line(PurePosixPath(entry or artifact.file).name, 200)
    response: HttpResponseBase = StreamingHttpResponse(source.chunks()) if source else FileResponse(file.open())
    response["Content-Type"] = kind.media_type
    response["Content-Disposition"] = content_disposition_header(False, name) or "inline"
    response["Content-Security-Policy"] = PDF_POLICY if kind.is_pdf else SANDBOX_POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["Cache-Control"] = "private, max-age=300"
    return response


@require_safe
@desk_page()
def export_preview(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponse:
    """Show what a file contains; for a bundle, its tree or one ``entry``."""
    artifact, file = get_kept(pk, number, position)
    entry = request.GET.get("entry")
    shown = ShownFile.of(artifact, artifact.build)
    context = {
        "submission": artifact.build.submission,
        "build": artifact.build,
        "export": shown,
        "entry": entry or "",
        **_make_content(file, entry, shown.address),
    }
    response = render(request, "desk/preview.html", context)
    response._csp_update = {"frame-src": ["'self'"]}  # type: ignore[attr-defined]  # read by django-csp
    return response


@require_safe
@desk_page()
def export_figure(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponseBase:
    """Send an image of a bundle to the reading view: also an SVG, which runs no scripts and loads nothing under this policy."""
    _artifact, file = get_kept(pk, number, position)
    name = request.GET.get("entry", "")
    start, parts = bundle.Entry.begun(file, name)
    media_type = preview.SVG if preview.is_svg(start, name) else preview.recognise(start, name).media_type
    # A browser that says what it wants the file for gets an SVG as an image only, never as a page.
    as_page = media_type == preview.SVG and request.headers.get("Sec-Fetch-Dest", "image") != "image"
    if not media_type.startswith("image/") or as_page:
        raise Http404
    response = StreamingHttpResponse(parts, content_type=media_type)
    response["Content-Security-Policy"] = SANDBOX_POLICY
    response["Cache-Control"] = "private, max-age=300"
    return response


def _make_content(file: KeptFile, entry: str | None, address: str) -> dict[str, Any]:
    source = bundle.Entry.of(file, entry) if entry else None
    start = source.read_beginning() if source else preview.read_beginning(file)
    kind = preview.recognise(start, source.name if source else file.name)
    raw_address = f"{address}raw/" + (f"?{preview.entry_query(entry)}" if entry else "")
    if kind.media_type:
        return {"pdf" if kind.is_pdf else "image": raw_address}
    if kind.is_bundle and not entry:
        return {"tree": bundle.read_tree(file)}
    if kind.is_text:
        return {"text": preview.render_text(source.read(preview.MAX_TEXT + 1) if source else preview.read(file), kind)}
    return {"nothing": True}
