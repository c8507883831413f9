"""The endpoints (CONTRACT §1 and §5). Each view checks its request and calls one verb of :mod:`builds.lifecycle`.

:mod:`builds.api.schema` says what each takes and answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import Http404, HttpResponseBase, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from builds import lifecycle
from builds.api.envelope import Conflict, Refusal, Unavailable, success
from builds.api.serializers import CancelRequest, LogRequest, RetryRequest, SubmissionRequest, status
from builds.engine.manuscript.url import ManuscriptUrl
from builds.lib.text import plain
from builds.lifecycle import ActionRefused, JobConflict, StaleBuild
from builds.models import Build, Mode, Submission
from builds.queue import workers
from builds.record import logs, readiness

ACCEPTED = "Job queued for processing"


class SubmissionsView(APIView):
    def post(self, request: Request) -> Response:
        """Submit a manuscript.

        The same `jobId` again is safe. It changes nothing while the submission is unfinished, starts a new attempt after a failure or a
        cancel, and delivers the files again after a success.
        """
        data: Any = request.data
        _check_required(data)
        form = SubmissionRequest(data=data)
        form.is_valid(raise_exception=True)
        values = form.validated_data
        if problem := readiness.refusal():
            raise Unavailable(problem)
        try:
            submission = lifecycle.submit(_request(values))
        except JobConflict as conflict:
            message = (
                f"The jobId {values['jobId']!r} already belongs to a submission with another uuid or url. Nothing was changed."
            )
            raise Conflict(message) from conflict
        accepted = {"jobId": submission.job_id, "uuid": submission.node_uuid, "message": ACCEPTED}
        return success(accepted, status=settings.SUBMISSION_ACCEPTED_STATUS, **accepted)


def _check_required(data: dict[str, Any]) -> None:
    """The two refusals whose words the contract fixes."""
    if any(
        data.get(name) in (None, "") or (isinstance(data[name], str) and not data[name].strip())
        for name in ("url", "jobId", "uuid")
    ):
        raise Refusal("URL, jobId and uuid are required")
    if data.get("parsedDocument") in (None, ""):
        raise Refusal("parsedDocument is required")


def _request(values: dict[str, Any]) -> lifecycle.Request:
    return lifecycle.Request(
        job_id=values["jobId"],
        node_uuid=values["uuid"],
        url=values["url"],
        repository=ManuscriptUrl.parse(values["url"]).slug,
        document=values["parsedDocument"],
    )


class SubmissionView(APIView):
    def get(self, request: Request, job_id: str) -> Response:
        """The state of a submission, its attempts, and why it failed."""
        return success(status(_submission(job_id)))


class CancelView(APIView):
    def post(self, request: Request, job_id: str) -> Response:
        """Cancel an unfinished submission. A queued one is cancelled at once, a running one as soon as none of its processes runs."""
        reason = _checked(CancelRequest, request.data)["reason"]
        submission = _submission(job_id)
        try:
            lifecycle.request_cancel(submission.newest_build(), actor=lifecycle.API, reason=reason or "No reason given.")
        except StaleBuild as stale:
            raise Conflict("This submission has already ended; there is nothing to cancel.") from stale
        return success(status(_submission(job_id)), status=202)


class RetryView(APIView):
    def post(self, request: Request, job_id: str) -> Response:
        """Queue a new attempt at a submission that has ended. Without `mode` it builds the newest commit of the branch."""
        values = _checked(RetryRequest, request.data)
        try:
            lifecycle.retry(_submission(job_id), Mode(values["mode"]), actor=lifecycle.API, reason=values["reason"])
        except ActionRefused as refused:
            raise Conflict(str(refused)) from refused
        return success(status(_submission(job_id)), status=202)


class LogView(APIView):
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The log of an attempt as text, from a given line. The header `X-Next-Line` is the value of `from` for the next request."""
        values = _checked(LogRequest, request.query_params)
        build = _build(_submission(job_id), values.get("attempt"))
        response = StreamingHttpResponse(_lines(build, values["from"]), content_type="text/plain; charset=utf-8")
        response["X-Next-Line"] = str(max(build.log_lines + 1, values["from"]))
        response["X-Content-Type-Options"] = "nosniff"
        return response


def _lines(build: Build, first: int) -> Iterator[bytes]:
    """Only the lines that X-Next-Line counts: none that were written after it was computed."""
    for line in logs.read(build, first):
        if line.number > build.log_lines:
            return
        yield f"{plain(line.text)}\n".encode()


class HealthView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        """Whether the web server answers. It asks neither the database nor the queue store."""
        return Response({"status": "ok"})


class ReadyView(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get(self, request: Request) -> Response:
        """Whether submissions can be accepted. If not, the message names the part that is the reason.

        `isolation` says in which sandbox and with which control groups builds run, and on how many workers. It has one entry if all
        workers are alike. It is empty if no worker accepts builds; submissions are then accepted and wait. `notices` are sentences for
        operators: for example that a newer release has changed the database, so that this process has to be replaced.
        """
        problems = readiness.problems()
        if problems:
            raise Unavailable(" ".join(problems.values()))
        return Response({"status": "ok", "isolation": workers.isolation(), "notices": readiness.notices()})


def _checked(form_class: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    form = form_class(data=data)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)


def _submission(job_id: str) -> Submission:
    submission = Submission.objects.filter(job_id=job_id).first() if job_id.isprintable() else None
    if submission is None:
        raise Http404(f"There is no submission with the jobId {job_id!r}.")
    return submission


def _build(submission: Submission, attempt: int | None) -> Build:
    if attempt is None:
        return submission.newest_build()
    build = submission.builds.filter(number=attempt).first()
    if build is None:
        raise Http404(f"This submission has no attempt {attempt}.")
    return build
