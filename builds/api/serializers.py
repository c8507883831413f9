"""The fields of requests and answers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from builds import lifecycle
from builds.engine.findings import Group, Severity
from builds.engine.manuscript import front_matter
from builds.engine.manuscript.url import MAX_URL_LENGTH, InvalidManuscriptUrl, ManuscriptUrl
from builds.errors import Fault
from builds.models import Artifact, Build, Mode, Stage, State, Submission

MAX_ID_LENGTH = 200
MAX_REASON_LENGTH = 1000
IDENTIFIER = f"at most {MAX_ID_LENGTH} characters, none of them a slash or a control character"


class Text(serializers.CharField):
    """A JSON string. DRF's own field also accepts numbers."""

    default_error_messages = {"invalid": "{field} must be a string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid", field=self.field_name)
        return str(super().to_internal_value(data))


def check_identifier(name: str, value: str) -> str:
    """Return ``value`` if it is safe in an address and in a log.

    Raises:
        ValidationError: it is not.
    """
    if len(value) > MAX_ID_LENGTH:
        raise serializers.ValidationError(f"{name} must be at most {MAX_ID_LENGTH} characters long.")
    if "/" in value or value in (".", ".."):
        raise serializers.ValidationError(f"{name} must not contain a slash, and must not be '.' or '..'.")
    if not value.isprintable():
        raise serializers.ValidationError(f"{name} must not contain control characters.")
    return value


class SubmissionRequest(serializers.Serializer[Any]):
    """What desci-server posts. Unknown fields are ignored."""

    url = Text(
        trim_whitespace=False,
        help_text=f"https://github.com/{{owner}}/{{repo}}/blob/{{ref}}/{{path}}.yml, or .yaml; at most {MAX_URL_LENGTH} characters",
    )
    jobId = Text(trim_whitespace=False, help_text=f"desci-server's id of the import task; {IDENTIFIER}")
    uuid = Text(
        trim_whitespace=False,
        help_text=f"the node that receives the files, as desci-server writes it, trailing dot included; {IDENTIFIER}",
    )
    parsedDocument = serializers.JSONField(
        help_text="the project's front matter: an object. Its `exports` are a list, if there are any"
    )

    def validate_url(self, value: str) -> str:
        try:
            ManuscriptUrl.parse(value)
        except InvalidManuscriptUrl as error:
            raise serializers.ValidationError(f"url: {error}") from error
        return value

    def validate_jobId(self, value: str) -> str:
        return check_identifier("jobId", value)

    def validate_uuid(self, value: str) -> str:
        return check_identifier("uuid", value)

    def validate_parsedDocument(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise serializers.ValidationError("parsedDocument must be an object.")
        if not isinstance(value.get("exports") or [], list):
            raise serializers.ValidationError("parsedDocument.exports must be a list.")
        try:
            return dict(front_matter.storable(value))
        except RecursionError as error:
            raise serializers.ValidationError("parsedDocument is nested too deeply.") from error


class Reason(Text):
    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, allow_blank=True, max_length=MAX_REASON_LENGTH, default="", **options)


class CancelRequest(serializers.Serializer[Any]):
    reason = Reason(help_text="why; shown to staff and sent to desci-server")


class RetryRequest(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(
        Mode.choices,
        default=Mode.LATEST,
        error_messages={"invalid_choice": "mode must be one of latest, same-commit, clean and deliver."},
    )
    reason = Reason(help_text="why; shown to staff")


class LogRequest(serializers.Serializer[Any]):
    """``from`` is a keyword of Python, so this field is added below."""

    attempt = serializers.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, help_text="number of the attempt; the newest if not given"
    )


LogRequest._declared_fields["from"] = serializers.IntegerField(
    required=False, default=1, min_value=1, max_value=2**31 - 1, help_text="number of the first line, counted from 1"
)


# --- answers


class CauseAnswer(serializers.Serializer[Any]):
    fault = serializers.ChoiceField(["manuscript", "template", "service", "outside", "unknown"])
    code = serializers.CharField()
    sentence = serializers.CharField(help_text="one sentence for an author: why it failed")
    advice = serializers.CharField(allow_blank=True)
    file = serializers.CharField(allow_blank=True)
    line = serializers.IntegerField(allow_null=True)
    logLine = serializers.IntegerField(allow_null=True, help_text="number of the line in the attempt's log")


class FindingAnswer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="what kind of finding it is; codes never change")
    severity = serializers.ChoiceField(
        [severity.value for severity in Severity],
        help_text="broken: an export is not what the author wrote. An editorial check has failed, advised or passed",
    )
    group = serializers.ChoiceField(
        [group.value for group in Group], help_text="build, or editorial for a check that advises editors"
    )
    fault = serializers.ChoiceField([fault.value for fault in Fault])
    text = serializers.CharField(help_text="one sentence for an author")
    advice = serializers.CharField(allow_blank=True)
    file = serializers.CharField(allow_blank=True, help_text="relative to the repository's root")
    line = serializers.IntegerField(allow_null=True)
    export = serializers.CharField(allow_blank=True, help_text="the export that it affects; empty if it affects all of them")
    logLine = serializers.IntegerField(
        source="log_line", allow_null=True, help_text="number of the line in the newest attempt's log"
    )


class ProgressAnswer(serializers.Serializer[Any]):
    done = serializers.IntegerField(help_text="bytes")
    total = serializers.IntegerField(allow_null=True, help_text="bytes")


class StageAnswer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(Stage.State.choices)
    startedAt = serializers.DateTimeField(source="started_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    detail = serializers.CharField(allow_blank=True)
    command = serializers.CharField(allow_blank=True)
    commandVersion = serializers.CharField(source="command_version", allow_blank=True)
    exitCode = serializers.IntegerField(source="exit_code", allow_null=True)
    peakMemoryBytes = serializers.IntegerField(source="peak_memory_bytes", allow_null=True)


class ExportAnswer(serializers.Serializer[Any]):
    role = serializers.CharField(help_text="pdf, typst, meca or page-content")
    name = serializers.CharField(help_text="the filename that desci-server receives; for a MECA the folder of its files")
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField()


class ReusedAnswer(serializers.Serializer[Any]):
    jobId = serializers.CharField()
    attempt = serializers.IntegerField()


class AttemptAnswer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    state = serializers.ChoiceField(State.choices)
    mode = serializers.ChoiceField(Mode.choices)
    commit = serializers.CharField(allow_blank=True)
    createdAt = serializers.DateTimeField(source="created_at")
    startedAt = serializers.DateTimeField(source="started_at", allow_null=True)
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)
    notBefore = serializers.DateTimeField(source="not_before", allow_null=True)
    cause = CauseAnswer(allow_null=True)
    problems = serializers.IntegerField(help_text="how many broken findings the attempt has")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="the findings of the group build as text")
    logLines = serializers.IntegerField(source="log_lines")
    processorSeconds = serializers.FloatField(
        source="processor_seconds",
        allow_null=True,
        help_text="user and system time of the attempt's commands that have ended",
    )
    reused = ReusedAnswer(
        allow_null=True, help_text="the attempt whose result was delivered without a build, because it had built the same"
    )
    stages = StageAnswer(many=True)


class StatusAnswer(serializers.Serializer[Any]):
    jobId = serializers.CharField()
    uuid = serializers.CharField()
    url = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(State.choices)
    cancelRequested = serializers.BooleanField(help_text="it has been cancelled, but some of its processes are still running")
    heldBack = serializers.CharField(
        allow_blank=True, help_text="why a queued submission may not start yet, if its owner has too many builds running"
    )
    stage = serializers.CharField(allow_null=True, help_text="newest stage of the newest attempt")
    progress = ProgressAnswer(allow_null=True)
    commit = serializers.CharField(allow_blank=True)
    commitLink = serializers.CharField(allow_blank=True)
    cause = CauseAnswer(allow_null=True)
    problems = serializers.IntegerField(
        help_text="how many broken findings the newest attempt has. A success with any is shown as succeeded, with problems"
    )
    findings = FindingAnswer(many=True, help_text="of the newest attempt")
    findingsLeftOut = serializers.IntegerField(help_text="how many findings more there were than are kept")
    createdAt = serializers.DateTimeField()
    startedAt = serializers.DateTimeField(allow_null=True)
    finishedAt = serializers.DateTimeField(allow_null=True)
    exports = ExportAnswer(many=True)
    attempts = AttemptAnswer(many=True)
    link = serializers.CharField(help_text="the submission's page for staff")


def status(submission: Submission) -> dict[str, Any]:
    """A submission's state and attempts. The number of queries does not depend on the number of attempts."""
    rows = submission.builds.order_by("number").select_related("reused__submission")
    builds = list(rows.prefetch_related("stages", "artifacts", "findings"))
    newest = builds[-1]
    stages = list(newest.stages.all())
    stage = stages[-1] if stages else None
    made = next((build for build in reversed(builds) if build.artifacts.all()), None)
    return StatusAnswer(
        {
            "jobId": submission.job_id,
            "uuid": submission.node_uuid,
            "url": submission.url,
            "title": submission.title,
            "state": newest.state,
            "cancelRequested": bool(newest.cancel_requested_at and not newest.finished_at),
            "heldBack": lifecycle.why_held(newest),
            "stage": stage.name if stage else None,
            "progress": _progress(stage),
            "commit": newest.commit,
            "commitLink": newest.commit_link,
            "cause": _cause(newest),
            "problems": newest.problems,
            "findings": list(newest.findings.all()),
            "findingsLeftOut": newest.findings_left_out,
            "createdAt": submission.created_at,
            "startedAt": newest.started_at,
            "finishedAt": newest.finished_at,
            "exports": list(made.artifacts.all()) if made else list[Artifact](),
            "attempts": [_attempt(build) for build in builds],
            "link": submission.link,
        }
    ).data


def _attempt(build: Build) -> dict[str, Any]:
    names = (
        "number",
        "state",
        "mode",
        "commit",
        "created_at",
        "started_at",
        "finished_at",
        "not_before",
        "problems",
        "log_lines",
        "processor_seconds",
    )
    own = {name: getattr(build, name) for name in names}
    texts = {"cause": _cause(build), "warnings": _warnings(build)}
    return {**own, **texts, "reused": _reused(build), "stages": list(build.stages.all())}


def _reused(build: Build) -> dict[str, Any] | None:
    return {"jobId": build.reused.submission.job_id, "attempt": build.reused.number} if build.reused else None


def _warnings(build: Build) -> list[str]:
    """The list of texts that clients read before findings existed. Attempts of older releases have only these."""
    return [*build.warnings, *(finding.words for finding in build.findings.all() if finding.group == Group.BUILD)]


def _progress(stage: Stage | None) -> dict[str, int | None] | None:
    if stage is None or stage.progress_done is None:
        return None
    return {"done": stage.progress_done, "total": stage.progress_total}


def _cause(build: Build) -> dict[str, Any] | None:
    if not build.cause:
        return None
    return {
        "fault": build.fault,
        "code": build.cause_code,
        "sentence": build.cause,
        "advice": build.advice,
        "file": build.cause_file,
        "line": build.cause_line,
        "logLine": build.cause_log_line,
    }
