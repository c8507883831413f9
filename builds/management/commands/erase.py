"""``manage.py erase``: erases a person's data on request."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.models import Submission
from builds.record.erasure import NotErasable, erase_account, erase_submission


class Command(BaseCommand):
    help = (
        "Erase the data of a person: submissions with their logs, files and history, or an account of the staff. "
        "Backups keep it until they are removed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--submission", metavar="JOB_ID", action="append", default=[], help="may be given several times")
        parser.add_argument("--account", metavar="USER_NAME", action="append", default=[], help="may be given several times")
        parser.add_argument("--yes", action="store_true", help="erase; without it, only say what would be erased")

    def handle(self, *args: Any, submission: list[str], account: list[str], yes: bool, **options: Any) -> None:
        if not submission and not account:
            raise CommandError("Name what to erase: --submission JOB_ID or --account USER_NAME.")
        submissions = [_find_submission(job_id) for job_id in submission]
        accounts = [_find_account(name) for name in account]
        for named in submissions:
            attempts = named.builds.count()
            self.stdout.write(f"Submission {named.job_id}, “{named.title}”, {attempts} attempts with their logs and files")
        for user in accounts:
            self.stdout.write(f"Account {user.username}")
        if not yes:
            self.stdout.write("Nothing was erased. Add --yes to erase this.")
            return
        _erase(submissions, accounts)
        self.stdout.write("Erased. Backups keep it until they are removed.")


def _erase(submissions: list[Submission], accounts: list[User]) -> None:
    try:
        for submission in submissions:
            erase_submission(submission)
        for user in accounts:
            erase_account(user)
    except NotErasable as error:
        raise CommandError(str(error)) from error


def _find_submission(job_id: str) -> Submission:
    found = Submission.objects.filter(job_id=job_id).first()
    if not found:
        raise CommandError(f"There is no submission {job_id}. Nothing was erased.")
    return found


def _find_account(name: str) -> User:
    found = User.objects.filter(username=name).first()
    if not found:
        raise CommandError(f"There is no account {name}. Nothing was erased.")
    return found
