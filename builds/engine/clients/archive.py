"""The client of the archive host: GitHub, or a host with the same addresses for archives. Finds a ref's commit and downloads its zip.

It lists the refs by git's smart HTTP protocol, which needs no token and has no rate limit (CONTRACT §4, gitprotocol-http(5)). If a host
has no such list, it tries the likely addresses of the archive.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests

from builds.engine.clients import short_reason
from builds.engine.clients.git_refs import Listing
from builds.engine.clients.http import CALL_FAILURES, PLAIN, DeadlineSession, read_pieces
from builds.engine.manuscript.url import ManuscriptUrl, Split
from builds.errors import ArchiveHostDown, ArchiveHostLimit, ArchiveHostRefused, ArchiveNotFound, ArchiveTooLarge
from builds.lib import units
from builds.lib.stop import Stop
from builds.lib.waiting import Backoff, limit_reset, retry_after, until_stopped

_T = TypeVar("_T")

TIME_LIMITS = (10, 30)  # in seconds, to connect and between two pieces of a response
LISTING_PATIENCE_SECONDS = 6.0
# For one try, with its redirects, whatever the host sends meanwhile.
LISTING_SECONDS = 20.0
PATIENCE_SECONDS = 45.0
MAX_DOWNLOAD_SECONDS = 1800.0
# A download may take this long until its first megabyte is there, and again for each further one. A slower host is not waited for.
SECONDS_PER_MEGABYTE = 60.0
MAX_REDIRECTS = 8
# Of a ref, where the host does not list its refs. Each is asked for.
MAX_GUESSED_PARTS = 6
CHUNK = 256 * 1024

MEGABYTE = 1_000_000
DIGITS = re.compile(r"[0-9]{1,18}")
NOT_MODIFIED = 304
ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,200}"')
GITHUB_HOST = re.compile(r"(?:[a-z0-9-]+\.)*(?:github\.com|githubusercontent\.com)")
NOT_FOUND = "repository, branch or file not found, or private"


@dataclass(frozen=True)
class Source:
    """Where an archive may be: ``location`` on the host. ``commit`` is empty if only the archive itself names it.

    ``is_listed``: the host has just listed the commit as one of the repository's, so it can be fetched from there now.
    """

    location: str
    ref: str
    path: str
    commit: str = ""
    is_listed: bool = False


@dataclass(frozen=True)
class Downloaded:
    """What a download has: its SHA-256, and its ETag, which is empty if the host sent none."""

    sha256: str
    etag: str


class _TryAgain(Exception):
    """A failure that may pass: what happened, how many seconds the host asks to wait, and whether that is because of a rate limit."""

    def __init__(self, what: str, wait: float | None = None, *, is_limit: bool = False) -> None:
        self.what, self.wait, self.is_limit = what, wait, is_limit
        super().__init__(what)

    @property
    def final(self) -> ArchiveHostDown:
        """The error if no time is left to wait here."""
        if self.is_limit:
            asked = "" if self.wait is None else f" and asks to wait {units.duration(self.wait)}"
            return ArchiveHostLimit(f"The archive host is limiting requests: {self.what}{asked}.", retry_after=self.wait)
        return ArchiveHostDown(f"The repository could not be fetched: {self.what}.", retry_after=self.wait)


class ArchiveHost:
    """Raises only errors of :mod:`builds.errors`. Every call has a time limit, and ends early when ``stop`` is set."""

    def __init__(self, base_url: str, *, token: str = "", patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._base = base_url.rstrip("/")
        self._token = token
        self._patience = patience_seconds

    def sources(self, url: ManuscriptUrl, stop: Stop | None = None) -> list[Source]:
        """Where the archive of ``url`` may be, the likeliest first. If the host lists its refs there is only one, with its commit.

        Raises:
            ArchiveNotFound: the host lists its refs, and ``url`` names neither one of them nor a commit.
        """
        stop = stop or Stop()
        listing = self._listing(url, stop)
        if listing is None:
            splits = [split for split in url.splits() if split.ref.count("/") < MAX_GUESSED_PARTS]
            return [source for split in splits for source in self._guesses(url, split)]
        return [_listed_source(url, listing)]

    def at_commit(self, url: ManuscriptUrl, commit: str, path: str) -> Source:
        """Where the archive of a known commit is."""
        return Source(_archive(url, commit), commit, path, commit)

    def confirm(self, source: Source, *, stop: Stop | None = None, etag: str = "") -> bool:
        """Ask whether the archive can be downloaded now, without downloading it. Returns whether it is still the one with ``etag``.

        Raises:
            ArchiveNotFound, ArchiveHostDown, ArchiveHostLimit, ArchiveHostRefused: as :meth:`download` raises them.
        """
        stop = stop or Stop()

        def once() -> bool:
            with DeadlineSession(LISTING_SECONDS) as session, self._get(session, source.location, etag=etag) as response:
                return response.status_code == NOT_MODIFIED

        return self._retry(lambda: until_stopped(stop, once), stop, self._patience)

    def download(
        self,
        source: Source,
        to: Path,
        *,
        max_bytes: int,
        stop: Stop | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
        is_whole: Callable[[Path], bool] = lambda path: True,
    ) -> Downloaded:
        """Stream an archive to the file ``to``. Tries again, with pauses, if the host fails or ``is_whole`` rejects the result.

        Raises:
            ArchiveNotFound: the archive does not exist, or is private.
            ArchiveTooLarge: it is larger than ``max_bytes``.
            ArchiveHostDown: the host did not send it within ``patience_seconds``.
            ArchiveHostLimit: the host's rate limit is reached, and it asks to wait for longer than that.
            ArchiveHostRefused: the host refuses to send it.
        """
        stop = stop or Stop()
        transfer = _Transfer(to, max_bytes, stop)

        def once() -> Downloaded:
            with DeadlineSession(SECONDS_PER_MEGABYTE) as session, self._get(session, source.location) as response:
                sha256 = transfer.run(session, response)
                etag = response.headers.get("ETag", "")
            if not is_whole(to):
                raise _TryAgain("what it sent is not a complete zip archive")
            return Downloaded(sha256, etag if ETAG.fullmatch(etag) else "")

        downloaded = self._retry(
            lambda: until_stopped(stop, once, tick=lambda: progress(transfer.done, transfer.total)), stop, self._patience
        )
        progress(transfer.done, transfer.done)
        return downloaded

    def _listing(self, url: ManuscriptUrl, stop: Stop) -> Listing | None:
        """The refs of the repository that ``url`` may mean; None if the host does not list them, or too many."""
        location = f"/{quote(url.owner)}/{quote(url.repository.removesuffix('.git'))}.git/info/refs?service=git-upload-pack"

        def once() -> Listing:
            listing = Listing(url)
            with DeadlineSession(LISTING_SECONDS) as session, self._get(session, location, git=True) as response:
                for chunk in _chunks(session, response):
                    listing.add(chunk)
            listing.resolve()  # whether it is a list
            return listing

        try:
            return self._retry(lambda: until_stopped(stop, once), stop, min(self._patience, LISTING_PATIENCE_SECONDS))
        except (ArchiveNotFound, ArchiveHostDown, ArchiveHostRefused, ValueError):
            return None

    @staticmethod
    def _guesses(url: ManuscriptUrl, split: Split) -> Iterator[Source]:
        for kind in ("refs/heads/", "refs/tags/", ""):
            yield Source(_archive(url, f"{kind}{split.ref}"), split.ref, split.path)

    @staticmethod
    def _retry(once: Callable[[], _T], stop: Stop, patience: float) -> _T:
        backoff = Backoff(patience)
        while True:
            try:
                return once()
            except _TryAgain as failure:
                if not backoff.pause(stop, asked_for=failure.wait):
                    raise failure.final from failure

    def _get(self, session: DeadlineSession, location: str, *, git: bool = False, etag: str = "") -> requests.Response:
        """Send a GET request. Follows redirects itself, to check each host on the way and to send the token only to ours.

        With ``etag``, the answer may be 304: what has that ETag has not changed.
        """
        address = f"{self._base}{location}"
        for _ in range(MAX_REDIRECTS):
            response = self._get_once(session, address, git=git, etag=etag)
            if etag and response.status_code == NOT_MODIFIED:
                return response
            if response.status_code not in (301, 302, 303, 307, 308):
                return _require_success(response, location)
            response.close()
            address = self._redirected(address, response.headers.get("Location", ""))
        raise ArchiveHostRefused("The archive host redirected too many times.")

    def _redirected(self, address: str, location: str) -> str:
        """The address that a redirect leads to."""
        try:
            target = urljoin(address, location)
            host = urlsplit(target).netloc or "nowhere"
        except ValueError:
            raise ArchiveHostRefused("The archive host redirected to an address that is not valid.") from None
        if not self._may_go_to(target):
            raise ArchiveHostRefused(f"The archive host redirected to {host[:200]}, which is not a host of GitHub.")
        return target

    def _get_once(self, session: DeadlineSession, address: str, *, git: bool, etag: str) -> requests.Response:
        headers = {"User-Agent": "git/jobsite" if git else "jobsite", **PLAIN}
        if etag:
            headers["If-None-Match"] = etag
        if self._token and _origin(address) == _origin(self._base):
            basic = base64.b64encode(f"x-access-token:{self._token}".encode()).decode()
            headers["Authorization"] = f"Basic {basic}" if git else f"Bearer {self._token}"
        try:
            # `auth` makes requests ignore a .netrc file of the machine.
            return session.get(
                address, headers=headers, auth=lambda request: request, stream=True, timeout=TIME_LIMITS, allow_redirects=False
            )
        except CALL_FAILURES as error:
            host = urlsplit(address).hostname
            if session.deadline.is_over:
                raise _TryAgain(f"{host} did not answer within {session.deadline.seconds:g} s") from error
            raise _TryAgain(f"{host} could not be reached ({short_reason(error)})") from error

    def _may_go_to(self, address: str) -> bool:
        try:
            if _origin(address) == _origin(self._base):
                return True
            parts = urlsplit(address)
            return parts.scheme == "https" and parts.port in (None, 443) and bool(GITHUB_HOST.fullmatch(parts.hostname or ""))
        except ValueError:
            return False


class _Transfer:
    """One download. Another thread can read how many bytes it has so far."""

    def __init__(self, to: Path, max_bytes: int, stop: Stop) -> None:
        self.done = 0
        self.total: int | None = None
        self._to, self._max_bytes, self._stop = to, max_bytes, stop

    def run(self, session: DeadlineSession, response: requests.Response) -> str:
        """Write the body to the file. Returns its SHA-256."""
        digest = hashlib.sha256()
        length = response.headers.get("Content-Length", "")
        self.done, self.total = 0, int(length) if DIGITS.fullmatch(length) else None
        self._check_size(self.total or 0)
        ends_at = time.monotonic() + MAX_DOWNLOAD_SECONDS
        next_megabyte = MEGABYTE
        with self._to.open("wb") as file:
            for chunk in _chunks(session, response):
                self._stop.check()
                self.done += len(chunk)
                self._check_size(self.done)
                if time.monotonic() > ends_at:
                    raise _TryAgain(f"the download took longer than {MAX_DOWNLOAD_SECONDS / 60:g} minutes")
                if self.done >= next_megabyte:
                    next_megabyte = self.done + MEGABYTE
                    session.deadline.prolong(SECONDS_PER_MEGABYTE)
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise ArchiveTooLarge(
                f"The repository's archive is larger than {units.size(self._max_bytes)}, the limit of this service."
            )


def _listed_source(url: ManuscriptUrl, listing: Listing) -> Source:
    found = listing.resolve()
    if found is None:
        names = ", ".join(repr(split.ref) for split in url.splits())
        raise ArchiveNotFound(f"{url.slug} has no branch, tag or commit {names}: {NOT_FOUND}.")
    return Source(_archive(url, found.commit or found.ref), found.ref, found.path, found.commit, found.is_tip)


def _archive(url: ManuscriptUrl, ref: str) -> str:
    return f"/{quote(url.owner)}/{quote(url.repository)}/archive/{quote(ref)}.zip"


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.lower()


def _require_success(response: requests.Response, location: str) -> requests.Response:
    """Return a successful response. Close any other one and raise the error that it means."""
    code = response.status_code
    if code == 200:
        return response
    response.close()
    wait = retry_after(response.headers.get("Retry-After"))
    used_up = response.headers.get("X-RateLimit-Remaining") == "0"
    if wait is None and used_up:
        wait = limit_reset(response.headers.get("X-RateLimit-Reset"))
    is_limit = code == 429 or (code == 403 and (wait is not None or used_up))
    if is_limit or code >= 500 or code == 408:
        raise _TryAgain(f"the host answered {code}", wait, is_limit=is_limit)
    repository = "/".join(location.split("/")[1:3])
    if code in (404, 410, 401):
        raise ArchiveNotFound(f"{repository}: {NOT_FOUND}.")
    raise ArchiveHostRefused(f"The archive host refuses to send {repository} (it answered {code}).")


def _chunks(session: DeadlineSession, response: requests.Response) -> Iterator[bytes]:
    """The body in pieces. Errors of the connection are raised here; those of the caller, such as a full disk, pass."""
    pieces = read_pieces(response, CHUNK)
    while True:
        try:
            piece = next(pieces, b"")
            session.deadline.check()
        except CALL_FAILURES as error:
            if session.deadline.is_over:
                raise _TryAgain("the host sent it too slowly") from error
            raise _TryAgain(f"the connection broke ({short_reason(error)})") from error
        if not piece:
            return
        yield piece
