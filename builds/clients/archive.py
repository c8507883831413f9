"""The door to the host of repositories (GitHub, or what speaks its archive addresses): which commit a ref stands for, and its zip.

Refs are listed by git's smart HTTP, which needs no token and has no rate limit (CONTRACT §4, gitprotocol-http(5)). Where there is no
such listing, the addresses of archives are tried.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

import requests

from builds import units
from builds.clients.waiting import Backoff, NeverStops, Stopper, retry_after, until_stopped
from builds.errors import ArchiveHostDown, ArchiveHostRefused, ArchiveNotFound, ArchiveTooLarge
from builds.manuscript_url import ManuscriptUrl, Split

_T = TypeVar("_T")

TIME_LIMITS = (10, 30)
LISTING_PATIENCE_SECONDS = 6.0
PATIENCE_SECONDS = 45.0
DOWNLOAD_SECONDS = 1800.0
MOST_REDIRECTS = 8
LISTING_BYTES = 64 << 20
CHUNK = 256 * 1024

GITHUB_HOST = re.compile(r"(?:[a-z0-9-]+\.)*(?:github\.com|githubusercontent\.com)")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-fA-F]{4,40}")
NOT_FOUND = "repository, branch or file not found, or private"


@dataclass(frozen=True)
class Source:
    """Where an archive may be: ``location`` on the host. ``commit`` is empty where only the archive itself can tell it."""

    location: str
    ref: str
    path: str
    commit: str = ""


class _TryAgain(Exception):
    """A failure that may pass: what happened, and how long the host asks to wait."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        self.what, self.wait = what, wait
        super().__init__(what)


class ArchiveHost:
    """Raises only our errors; every call has a time limit, and ends early when ``stop`` says so."""

    def __init__(self, base_url: str, *, token: str = "", patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._base = base_url.rstrip("/")
        self._token = token
        self._patience = patience_seconds

    def sources(self, url: ManuscriptUrl, stop: Stopper | None = None) -> list[Source]:
        """Where the archive of ``url`` may be, the likeliest first; one alone, with its commit, where the host lists its refs.

        Raises:
            ArchiveNotFound: the host lists its refs, and ``url`` names none of them nor a commit.
        """
        stop = stop or NeverStops()
        refs = self._refs(url, stop)
        if refs is None:
            return [source for split in url.splits() for source in self._guesses(url, split)]
        return [_listed(url, refs)]

    def at_commit(self, url: ManuscriptUrl, commit: str, path: str) -> Source:
        """Where the archive of a commit is that is known already."""
        return Source(_archive(url, commit), commit, path, commit)

    def download(
        self,
        source: Source,
        to: Path,
        *,
        most_bytes: int,
        stop: Stopper | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
        is_whole: Callable[[Path], bool] = lambda path: True,
    ) -> None:
        """Stream an archive to the file ``to``; again, with pauses, where the host stumbles or ``is_whole`` denies the result.

        Raises:
            ArchiveNotFound: there is none.
            ArchiveTooLarge: it has more than ``most_bytes``.
            ArchiveHostDown: the host did not answer well for as long as we are patient.
            ArchiveHostRefused: it will not give it to us.
        """
        stop = stop or NeverStops()
        transfer = _Transfer(to, most_bytes, stop)

        def once() -> None:
            response = self._get(source.location)
            with response:
                transfer.run(response)
            if not is_whole(to):
                raise _TryAgain("what it sent is no whole zip archive")

        self._patiently(
            lambda: until_stopped(stop, once, tick=lambda: progress(transfer.done, transfer.total)), stop, self._patience
        )
        progress(transfer.done, transfer.done)

    def _refs(self, url: ManuscriptUrl, stop: Stopper) -> dict[str, str] | None:
        """The refs of the repository and their commits (of an annotated tag the commit it stands for); None without a listing."""
        location = f"/{quote(url.owner)}/{quote(url.repository.removesuffix('.git'))}.git/info/refs?service=git-upload-pack"

        def once() -> dict[str, str]:
            with self._get(location, git=True) as response:
                return _parse_refs(_limited(response))

        try:
            return self._patiently(lambda: until_stopped(stop, once), stop, min(self._patience, LISTING_PATIENCE_SECONDS))
        except (ArchiveNotFound, ArchiveHostDown, ArchiveHostRefused, ValueError):
            return None

    @staticmethod
    def _guesses(url: ManuscriptUrl, split: Split) -> Iterator[Source]:
        for kind in ("refs/heads/", "refs/tags/", ""):
            yield Source(_archive(url, f"{kind}{split.ref}"), split.ref, split.path)

    @staticmethod
    def _patiently(once: Callable[[], _T], stop: Stopper, patience: float) -> _T:
        backoff = Backoff(patience)
        while True:
            try:
                return once()
            except _TryAgain as failure:
                if not backoff.pause(stop, asked_for=failure.wait):
                    raise ArchiveHostDown(f"The repository could not be fetched: {failure.what}.") from failure

    def _get(self, location: str, *, git: bool = False) -> requests.Response:
        """The answer to a GET, redirects followed by hand: each host on the way is looked at, and the token goes to ours alone."""
        address = f"{self._base}{location}"
        for _ in range(MOST_REDIRECTS):
            response = self._get_once(address, git=git)
            if response.status_code not in (301, 302, 303, 307, 308):
                return _checked(response, location)
            target = urljoin(address, response.headers.get("Location", ""))
            response.close()
            if not self._may_go_to(target):
                host = urlsplit(target).netloc or "nowhere"
                raise ArchiveHostRefused(f"The archive host redirected to {host}, which is no host of GitHub: not followed.")
            address = target
        raise ArchiveHostRefused("The archive host redirected in circles.")

    def _get_once(self, address: str, *, git: bool) -> requests.Response:
        headers = {"User-Agent": "git/jobsite" if git else "jobsite", "Accept-Encoding": "identity"}
        if self._token and _origin(address) == _origin(self._base):
            basic = base64.b64encode(f"x-access-token:{self._token}".encode()).decode()
            headers["Authorization"] = f"Basic {basic}" if git else f"Bearer {self._token}"
        try:
            # `auth` keeps a .netrc of the machine out of it.
            return requests.get(
                address, headers=headers, auth=lambda request: request, stream=True, timeout=TIME_LIMITS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise _TryAgain(f"{urlsplit(address).hostname} could not be reached ({_short(error)})") from error

    def _may_go_to(self, address: str) -> bool:
        if _origin(address) == _origin(self._base):
            return True
        try:
            parts = urlsplit(address)
            return parts.scheme == "https" and parts.port in (None, 443) and bool(GITHUB_HOST.fullmatch(parts.hostname or ""))
        except ValueError:
            return False


class _Transfer:
    """One download: counts its bytes where another thread can read them."""

    def __init__(self, to: Path, most_bytes: int, stop: Stopper) -> None:
        self.done = 0
        self.total: int | None = None
        self._to, self._most, self._stop = to, most_bytes, stop

    def run(self, response: requests.Response) -> None:
        length = response.headers.get("Content-Length", "")
        self.done, self.total = 0, int(length) if length.isdigit() else None
        self._check_size(self.total or 0)
        ends_at = time.monotonic() + DOWNLOAD_SECONDS
        with self._to.open("wb") as file:
            for chunk in _chunks(response):
                self._stop.check()
                self.done += len(chunk)
                self._check_size(self.done)
                if time.monotonic() > ends_at:
                    raise _TryAgain(f"the download took longer than {DOWNLOAD_SECONDS / 60:g} minutes")
                file.write(chunk)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise ArchiveTooLarge(
                f"The repository's archive is larger than the {units.size(self._most)} that this service takes."
            )


def _listed(url: ManuscriptUrl, refs: dict[str, str]) -> Source:
    for split in url.splits():
        for name in (f"refs/heads/{split.ref}", f"refs/tags/{split.ref}", split.ref):
            if name in refs and name.startswith("refs/"):
                ref = split.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
                return Source(_archive(url, refs[name]), ref, split.path, refs[name])
    name, *path = url.tail
    if name == "HEAD" and "HEAD" in refs:
        return Source(_archive(url, refs["HEAD"]), name, "/".join(path), refs["HEAD"])
    if SHORT_COMMIT.fullmatch(name):
        return _commit(url, refs, name.lower(), "/".join(path))
    names = ", ".join(repr(split.ref) for split in url.splits())
    raise ArchiveNotFound(f"{url.slug} has no branch, tag or commit {names}: {NOT_FOUND}.")


def _commit(url: ManuscriptUrl, refs: dict[str, str], name: str, path: str) -> Source:
    tips = {commit for commit in refs.values() if commit.startswith(name)}
    commit = name if COMMIT.fullmatch(name) else (tips.pop() if len(tips) == 1 else "")
    return Source(_archive(url, commit or name), name, path, commit)


def _archive(url: ManuscriptUrl, ref: str) -> str:
    return f"/{quote(url.owner)}/{quote(url.repository)}/archive/{quote(ref)}.zip"


def _origin(address: str) -> tuple[str, str]:
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.lower()


def _checked(response: requests.Response, location: str) -> requests.Response:
    """The response, if it is a good one; otherwise it is closed, and what it means is raised."""
    code = response.status_code
    if code == 200:
        return response
    response.close()
    wait = retry_after(response.headers.get("Retry-After"))
    is_limit = code == 429 or (code == 403 and (wait is not None or response.headers.get("X-RateLimit-Remaining") == "0"))
    if is_limit or code >= 500 or code == 408:
        raise _TryAgain(f"the host answered {code}", wait)
    repository = "/".join(location.split("/")[1:3])
    if code in (404, 410, 401):
        raise ArchiveNotFound(f"{repository}: {NOT_FOUND}.")
    raise ArchiveHostRefused(f"The archive host refuses to give {repository} (answer {code}).")


def _chunks(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(CHUNK)
    except (requests.RequestException, OSError) as error:
        raise _TryAgain(f"the connection broke ({_short(error)})") from error


def _limited(response: requests.Response) -> bytes:
    data = bytearray()
    for chunk in _chunks(response):
        data += chunk
        if len(data) > LISTING_BYTES:
            raise ValueError("a listing of refs that is too long")
    return bytes(data)


def _parse_refs(data: bytes) -> dict[str, str]:
    """The lines of git's ref advertisement (gitprotocol-pack(5)); ValueError where it is none."""
    refs: dict[str, str] = {}
    for line in _packet_lines(data):
        commit, _space, name = line.split(b"\0")[0].decode("utf-8", "replace").rstrip("\n").partition(" ")
        if COMMIT.fullmatch(commit):
            refs[name.removesuffix("^{}")] = commit
    if not data.startswith(b"001e# service=git-upload-pack"):
        raise ValueError("not a ref advertisement")
    return refs


def _packet_lines(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 4 <= len(data):
        length = int(data[at : at + 4], 16)
        if length > 4:
            yield data[at + 4 : at + length]
        at += max(length, 4)


def _short(error: Exception) -> str:
    """An exception in a few words: those of requests hold whole addresses and objects."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return (getattr(cause, "strerror", "") or type(cause).__name__)[:100]
