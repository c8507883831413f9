"""The tables of the record. Import models from here."""

from builds.models.article import Article
from builds.models.build import (
    FINAL,
    UNFINISHED,
    Artifact,
    Build,
    BuildQuerySet,
    LogBatch,
    Mode,
    Rank,
    Stage,
    StageName,
    State,
)
from builds.models.cached_result import CachedResult
from builds.models.event import Event, EventKind
from builds.models.failure_group import FailureGroup, Release
from builds.models.finding import Finding
from builds.models.handling import Handling, HandlingState
from builds.models.identity import Identity
from builds.models.installation import Installation
from builds.models.letter import LetterKind, LetterTemplate
from builds.models.notification import Notification, RaisedAlarm
from builds.models.outbox import OutboxHold, StatusUpdate, StatusUpdateQuerySet, StatusUpdateTry
from builds.models.package_list import PackageList
from builds.models.queue import SILENT_AFTER, QueueChange, QueueControl, Worker
from builds.models.saved_view import SavedView
from builds.models.search import SearchWords
from builds.models.submission import FrontMatter, Submission
from builds.models.tally import Tally

__all__ = [
    "FINAL",
    "SILENT_AFTER",
    "UNFINISHED",
    "Article",
    "Artifact",
    "Build",
    "BuildQuerySet",
    "CachedResult",
    "Event",
    "EventKind",
    "FailureGroup",
    "Finding",
    "FrontMatter",
    "Handling",
    "HandlingState",
    "Identity",
    "Installation",
    "LetterKind",
    "LetterTemplate",
    "LogBatch",
    "Mode",
    "Notification",
    "OutboxHold",
    "PackageList",
    "QueueChange",
    "QueueControl",
    "RaisedAlarm",
    "Rank",
    "Release",
    "SavedView",
    "SearchWords",
    "Stage",
    "StageName",
    "State",
    "StatusUpdate",
    "StatusUpdateQuerySet",
    "StatusUpdateTry",
    "Submission",
    "Tally",
    "Worker",
]
