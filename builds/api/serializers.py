"""The fields of requests and answers: what is taken, and what is said of a submission."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from builds import front_matter
from builds.manuscript_url import LONGEST as LONGEST_URL
from builds.manuscript_url import InvalidManuscriptUrl, ManuscriptUrl
from builds.models import Artifact, Build, Mode, Stage, State, Submission

LONGEST_ID = 200
LONGEST_REASON = 1000
IDENTIFIER = f"at most {LONGEST_ID} characters, none of them a slash or a control character"


class Text(serializers.CharField):
    """A string that was sent as one: DRF's own field takes numbers too."""

    default_error_messages = {"invalid": "{field} must be a string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid", field=self.field_name)
        return str(super().to_internal_value(data))


def check_identifier(name: str, value: str) -> str:
    """``value``, if it can stand in an address and in a log."""
    if len(value) > LONGEST_ID:
        raise serializers.ValidationError(f"{name} must be at most {LONGEST_ID} characters long.")
    if "/" in value or value in (".", ".."):
        raise serializers.ValidationError(f"{name} must not hold a slash, nor be '.' or '..'.")
    if not value.isprintable():
        raise serializers.ValidationError(f"{name} must not hold control characters.")
    return value


class SubmissionRequest(serializers.Serializer[Any]):
    """What desci-server posts. Unknown fields are ignored."""

    url = Text(
        trim_whitespace=False,
        help_text=f"https://github.com/{{owner}}/{{repo}}/blob/{{ref}}/{{path}}.yml, or .yaml; at most {LONGEST_URL} characters",
    )
    jobId = Text(trim_whitespace=False, help_text=f"desci-server's id of the import task; {IDENTIFIER}")
    uuid = Text(
        trim_whitespace=False,
        help_text=f"the node that receives the files, as desci-server writes it, trailing dot included; {IDENTIFIER}",
    )
    parsedDocument = serializers.JSONField(help_text="the project's front matter: an object, whose `exports`, if any, are a list")

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
        super().__init__(required=False, allow_blank=True, max_length=LONGEST_REASON, default="", **options)


class CancelRequest(serializers.Serializer[Any]):
    reason = Reason(help_text="why; shown to staff and told to desci-server")


class RetryRequest(serializers.Serializer[Any]):
    mode = serializers.ChoiceField(
        Mode.choices,
        default=Mode.LATEST,
        error_messages={"invalid_choice": "mode must be one of latest, same-commit, clean and deliver."},
    )
    reason = Reason(help_text="why; shown to staff")


class LogRequest(serializers.Serializer[Any]):
    """``from`` is no name that Python takes for a field, so it is set below."""

    attempt = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1, help_text="the newest, if not given")


LogRequest._declared_fields["from"] = serializers.IntegerField(
    required=False, default=1, min_value=1, max_value=2**31 - 1, help_text="the number of the first line, from 1"
)


# --- answers


class CauseAnswer(serializers.Serializer[Any]):
    fault = serializers.ChoiceField(["manuscript", "template", "service", "outside"])
    code = serializers.CharField()
    sentence = serializers.CharField(help_text="one sentence for an author")
    advice = serializers.CharField(allow_blank=True)
    file = serializers.CharField(allow_blank=True)
    line = serializers.IntegerField(allow_null=True)
    logLine = serializers.IntegerField(allow_null=True, help_text="the number of a line of the attempt's log")


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
    name = serializers.CharField(help_text="the filename that desci-server gets; for a MECA the folder of its files")
    size = serializers.IntegerField(help_text="bytes")
    sha256 = serializers.CharField()


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
    warnings = serializers.ListField(child=serializers.CharField())
    logLines = serializers.IntegerField(source="log_lines")
    stages = StageAnswer(many=True)


class StatusAnswer(serializers.Serializer[Any]):
    jobId = serializers.CharField()
    uuid = serializers.CharField()
    url = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(State.choices)
    cancelRequested = serializers.BooleanField(help_text="a cancel was asked for and is not done yet")
    stage = serializers.CharField(allow_null=True, help_text="the newest attempt's newest stage")
    progress = ProgressAnswer(allow_null=True)
    commit = serializers.CharField(allow_blank=True)
    commitLink = serializers.CharField(allow_blank=True)
    cause = CauseAnswer(allow_null=True)
    createdAt = serializers.DateTimeField()
    startedAt = serializers.DateTimeField(allow_null=True)
    finishedAt = serializers.DateTimeField(allow_null=True)
    exports = ExportAnswer(many=True)
    attempts = AttemptAnswer(many=True)
    link = serializers.CharField(help_text="the page for staff")


def status(submission: Submission) -> dict[str, Any]:
    """Where a submission stands. Costs the same queries however many attempts there are."""
    builds = list(submission.builds.order_by("number").prefetch_related("stages", "artifacts"))
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
            "stage": stage.name if stage else None,
            "progress": _progress(stage),
            "commit": newest.commit,
            "commitLink": newest.commit_link,
            "cause": _cause(newest),
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
        "warnings",
        "log_lines",
    )
    return {**{name: getattr(build, name) for name in names}, "cause": _cause(build), "stages": list(build.stages.all())}


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
