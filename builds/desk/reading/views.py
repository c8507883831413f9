"""The reading view: the article of a MECA bundle as a page of the desk.

The article is untrusted. Its HTML was cleaned when it was made, and the page's policy allows no scripts at all.
"""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from builds.desk.access import WRITE, desk_page
from builds.desk.exports.views import ShownFile, choose_pdf, get_kept
from builds.desk.reading import articles, marks
from builds.desk.reading.sources import Sources
from builds.desk.submissions import findings

MECA = "meca"
# The page asks for nothing but style sheets and the images of the bundle.
POLICY = {"script-src": ["'none'"], "connect-src": ["'none'"], "img-src": ["'self'"]}


@require_safe
@desk_page()
def read_article(request: HttpRequest, pk: int, number: int, position: int) -> HttpResponse:
    """The article of a bundle. The problems of its attempt stand before it, and are marked in it where their place is found."""
    artifact, file = get_kept(pk, number, position)
    if artifact.role != MECA:
        raise Http404
    build = artifact.build
    found, read = findings.read(build), articles.read(artifact, file)
    html, problems = marks.mark(read.html or "", found.problems, Sources(file, build.path))
    files = [ShownFile.of(each, build) for each in build.artifacts.all()]
    context = {
        "submission": build.submission,
        "article": getattr(build.submission, "article", None),
        "build": build,
        "bundle": ShownFile.of(artifact, build),
        "pdf": choose_pdf(files),
        "reading": read,
        "html": html,
        "findings": found,
        "problems": problems,
        # A letter is about the newest attempt.
        "may_write": bool(problems) and request.user.has_perm(WRITE) and build == build.submission.newest_build(),
    }
    response = render(request, "desk/article.html", context, status=503 if read.is_passing else 200)
    if read.is_passing:
        response["Retry-After"] = str(articles.RETRY_AFTER_SECONDS)
    response._csp_replace = POLICY  # type: ignore[attr-defined]  # read by django-csp
    return response
