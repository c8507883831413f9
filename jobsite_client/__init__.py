"""A client of Jobsite's API. ``python -m jobsite_client --help`` is the command line on it. docs/api.md describes both."""

from jobsite_client.client import Client, LogLine
from jobsite_client.errors import ClientError, Refused, Unreachable, WaitTimedOut
from jobsite_client.submission import Attempt, Cause, Submission

__all__ = ["Attempt", "Cause", "Client", "ClientError", "LogLine", "Refused", "Submission", "Unreachable", "WaitTimedOut"]
