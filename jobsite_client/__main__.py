"""The command line: ``submit``, ``status``, ``log``, ``cancel`` and ``retry``.

The secret is read from the environment variable INTERNAL_SERVICE_SECRET only: arguments can be seen by every user of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobsite_client.client import Client, LogLine
from jobsite_client.errors import ClientError, Refused, Unreachable, WaitTimedOut
from jobsite_client.submission import Submission

OK, FAILED, USAGE, UNREACHABLE, REFUSED, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
SECRET, ADDRESS = "INTERNAL_SERVICE_SECRET", "JOBSITE_URL"
EXIT_CODES = """exit codes:
  0  done; the submission has succeeded, or is still queued or running
  1  the submission has failed or was cancelled
  2  wrong usage: an argument, a file, or the secret is missing
  3  the service can't be reached or can't answer, after all retries
  4  the service refused the request: wrong secret, unknown submission, or its state does not allow this
  5  --timeout was reached before the submission ended

The secret is read from the environment variable INTERNAL_SERVICE_SECRET."""


class UsageError(ClientError):
    """Something that the caller has to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        with Client(chosen.url, _secret(), retries=chosen.retries) as client:
            code: int = chosen.run(client, chosen)
            return code
    except ClientError as error:
        _complain(chosen, error)
        return _exit_code(error)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _exit_code(error: ClientError) -> int:
    codes = {Unreachable: UNREACHABLE, Refused: REFUSED, WaitTimedOut: TIMED_OUT}
    return codes.get(type(error), USAGE)


def _complain(chosen: argparse.Namespace, error: ClientError) -> None:
    if chosen.json:
        _print(json.dumps({"ok": False, "message": str(error)}, ensure_ascii=False))
    else:
        sys.stderr.write(f"jobsite-client: {error}\n")


def _secret() -> str:
    secret = os.environ.get(SECRET, "")
    if not secret:
        raise UsageError(f"Set the environment variable {SECRET} to the secret that the service has.")
    return secret


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON: one object, or one per line of a log")
    common.add_argument("--url", default=os.environ.get(ADDRESS, "http://localhost:5454"), help=f"of the service (or {ADDRESS})")
    common.add_argument("--retries", type=int, default=6, help="how often a call is repeated")
    common.add_argument("--timeout", type=float, metavar="SECONDS", help="how long --wait and --follow wait at most")
    parser = argparse.ArgumentParser(
        "jobsite-client", description=__doc__, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        own = commands.add_parser(
            name, parents=[common], help=text, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        own.set_defaults(run=run)
        return own

    submit = command("submit", _submit, "submit a manuscript")
    submit.add_argument("manuscript", help="https://github.com/OWNER/REPO/blob/REF/PATH.yml")
    submit.add_argument("--job-id", required=True)
    submit.add_argument("--uuid", required=True, help="of the node that receives the files")
    submit.add_argument("--document", required=True, metavar="FILE", help="the front matter as JSON; - reads standard input")
    status = command("status", _status, "show the state of a submission")
    log = command("log", _log, "print the log of an attempt")
    log.add_argument("--attempt", type=int, help="its number; the newest if not given")
    log.add_argument("--follow", action="store_true", help="print new lines, and further attempts, until the submission ends")
    cancel = command("cancel", _cancel, "cancel an unfinished submission")
    retry = command("retry", _retry, "queue a new attempt at a submission that has ended")
    retry.add_argument("--mode", default="latest", choices=["latest", "same-commit", "clean", "deliver"])
    for own in (status, log, cancel, retry):
        own.add_argument("job_id")
    for own in (submit, status, cancel, retry):
        own.add_argument("--wait", action="store_true", help="wait until the submission has ended")
    for own in (cancel, retry):
        own.add_argument("--reason", default="", help="shown to staff")
    return parser


def _submit(client: Client, chosen: argparse.Namespace) -> int:
    document = _read_document(chosen.document)
    submission = client.submit(url=chosen.manuscript, job_id=chosen.job_id, uuid=chosen.uuid, document=document)
    return _show(client, chosen, submission, settles=False)


def _read_document(name: str) -> dict[str, Any]:
    try:
        document = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"The front matter could not be read from {name}: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"The front matter in {name} is not a JSON object.")
    return document


def _status(client: Client, chosen: argparse.Namespace) -> int:
    return _show(client, chosen, client.status(chosen.job_id), settles=True)


def _cancel(client: Client, chosen: argparse.Namespace) -> int:
    return _show(client, chosen, client.cancel(chosen.job_id, reason=chosen.reason), settles=False)


def _retry(client: Client, chosen: argparse.Namespace) -> int:
    return _show(client, chosen, client.retry(chosen.job_id, mode=chosen.mode, reason=chosen.reason), settles=False)


def _show(client: Client, chosen: argparse.Namespace, submission: Submission, *, settles: bool) -> int:
    """Print the submission. With ``settles``, or after a wait, the exit code says how it ended."""
    if chosen.wait:
        submission = client.wait(submission.job_id, seconds=chosen.timeout)
    _print(json.dumps(dict(submission.data), ensure_ascii=False) if chosen.json else _described(submission))
    return _outcome(submission) if settles or chosen.wait else OK


def _described(submission: Submission) -> str:
    lines = [f"{submission.job_id}: {submission.state} (attempt {submission.newest_attempt})"]
    if submission.cause:
        lines += [submission.cause.sentence, submission.cause.advice]
    if submission.problems:
        lines.append(f"Problems: {submission.problems}")
    return "\n".join(filter(None, [*lines, submission.link]))


def _outcome(submission: Submission) -> int:
    return FAILED if submission.state in ("failed", "cancelled") else OK


def _log(client: Client, chosen: argparse.Namespace) -> int:
    if not chosen.follow:
        for line in client.log(chosen.job_id, attempt=chosen.attempt):
            _print_line(chosen, line)
        return OK
    if chosen.attempt:
        raise UsageError("--follow starts with the newest attempt: leave out --attempt.")
    for line in client.follow_log(chosen.job_id, seconds=chosen.timeout):
        _print_line(chosen, line)
    return _outcome(client.status(chosen.job_id))


def _print_line(chosen: argparse.Namespace, line: LogLine) -> None:
    as_json = {"attempt": line.attempt, "line": line.number, "text": line.text}
    _print(json.dumps(as_json, ensure_ascii=False) if chosen.json else line.text)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
