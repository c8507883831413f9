"""A stand-in for the part of GitHub that serves repositories: a list of refs, and zip archives behind a redirect."""

from __future__ import annotations

import hashlib
import io
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from tests.standins._server import Answer, Exchange, Fault, FaultAction, StandIn

NOT_FOUND = Answer.text(404, "Not Found")
EXCLUDED = frozenset({"_build", "exports", "__pycache__", ".git"})
FILE, PROGRAM, LINK = 0, 0o100755, 0o120777
MIN_COMMIT_DIGITS = 4
DATE = (2024, 1, 1, 0, 0, 0)

ARCHIVE = re.compile(r"/([^/]+)/([^/]+)/archive/(.+)\.zip")
CODELOAD = re.compile(r"/codeload/([^/]+)/([^/]+)/zip/([0-9a-f]{40})")
LISTING = re.compile(r"/([^/]+)/([^/]+?)(?:\.git)?/info/refs")


@dataclass(frozen=True)
class Entry:
    """A file of a repository: its mode (0 for a plain file, as GitHub writes it) and its content, or a link's target."""

    name: str
    content: bytes
    mode: int = FILE


@dataclass
class Repository:
    """``refs``: full name to commit; ``annotated``: full name of a tag to its tag object; ``archives``: commit to zip."""

    name: str
    refs: dict[str, str] = field(default_factory=dict)
    annotated: dict[str, str] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)

    def commits(self, wanted: str) -> set[str]:
        """The commits that ``wanted`` can mean: a full ref, the name of a branch or tag, or a commit's first digits."""
        if wanted in self.refs:
            return {self.refs[wanted]}
        named = [self.refs[ref] for ref in (f"refs/heads/{wanted}", f"refs/tags/{wanted}") if ref in self.refs]
        if named or len(wanted) < MIN_COMMIT_DIGITS:
            return set(named)
        return {commit for commit in self.archives if commit.startswith(wanted)}

    def advertisement(self) -> bytes:
        """The ref advertisement of git's smart HTTP protocol (version 0)."""
        lines = list(self._advertised())
        head = self._head()
        capabilities = "multi_ack side-band-64k ofs-delta agent=git/stand-in" + (f" symref=HEAD:{head}" if head else "")
        lines[:1] = [f"{line}\0{capabilities}" for line in lines[:1]]
        packets = b"".join(_packet(line) for line in lines)
        return _packet("# service=git-upload-pack") + b"0000" + packets + b"0000"

    def _advertised(self) -> Iterator[str]:
        if head := self._head():
            yield f"{self.refs[head]} HEAD"
        for ref, commit in sorted(self.refs.items()):
            if ref in self.annotated:
                yield f"{self.annotated[ref]} {ref}"
                yield f"{commit} {ref}^{{}}"
            else:
                yield f"{commit} {ref}"

    def _head(self) -> str:
        branches = [ref for ref in self.refs if ref.startswith("refs/heads/")]
        return "refs/heads/main" if "refs/heads/main" in branches else next(iter(branches), "")


class ArchiveHost(StandIn):
    """Without ``listing``, a plain archive host without git. Requests for unknown repositories are redirected to ``proxy``."""

    def __init__(self, *, port: int = 0, listing: bool = True, content_length: bool = False, proxy: str = "") -> None:
        super().__init__(port=port)
        self.listing = listing
        self.content_length = content_length
        self.proxy = proxy.rstrip("/")
        self._repositories: dict[tuple[str, str], Repository] = {}

    def add(
        self,
        owner: str,
        repo: str,
        files: Path | Mapping[str, str | bytes],
        *,
        ref: str = "main",
        commit: str | None = None,
        kind: Literal["heads", "tags"] = "heads",
        links: Mapping[str, str] | None = None,
        annotated: bool = False,
    ) -> str:
        """Add ``files`` to a repository at ``ref`` and return the commit.

        ``files`` is a folder, or a mapping of names to contents. ``links`` maps names to targets. From a folder, the results of
        builds (``_build``, ``exports``, ``__pycache__``) are excluded.
        """
        entries = _folder(files) if isinstance(files, Path) else _given(files, links or {})
        commit = commit or _commit(entries)
        self._keep(owner, repo, f"refs/{kind}/{ref}", commit, _zip(f"{repo}-{ref.replace('/', '-')}", commit, entries))
        if annotated and kind == "tags":
            tag = hashlib.sha1(f"tag {ref} {commit}".encode(), usedforsecurity=False).hexdigest()
            self._repository(owner, repo).annotated[f"refs/tags/{ref}"] = tag
        return commit

    def add_zip(self, owner: str, repo: str, ref: str, data: bytes) -> str:
        """Add an existing archive at the branch ``ref`` and return the commit, which is the archive's comment."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            commit = archive.comment.decode()
        commit = commit or hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self._keep(owner, repo, f"refs/heads/{ref}", commit, data)
        return commit

    def fail(
        self,
        path_part: str,
        *,
        status: int | None = None,
        times: float = 1,
        headers: Mapping[str, str] | None = None,
        action: FaultAction | Literal["redirect"] | None = None,
        location: str = "",
        body: bytes | None = None,
        every: float = 2.0,
    ) -> None:
        """Answer the next ``times`` requests whose path contains ``path_part`` with ``status``, or apply ``action`` to them.

        ``truncate`` sends half of an archive and closes. It applies only to requests that get an archive. ``body`` is what ``answer``
        and ``raw`` send, and ``every`` the seconds between two bytes of an answer that drips.
        """
        if action == "redirect":
            answer = Answer(status or 302, headers={"Location": location, **(headers or {})})
        else:
            answer = Answer.text(status or 500, f"stand-in: {status}", **(headers or {}))
        if body is not None:
            answer = replace(answer, body=body)
        kind: FaultAction = action if action and action != "redirect" else "answer"
        self.add_fault(Fault(kind, path_part, answer, times, every=every))

    def limit(self, path_part: str = "", *, seconds: float, times: float = math.inf) -> None:
        """Answer as GitHub does when its rate limit is reached: wait for ``seconds``."""
        self.fail(path_part, status=429, times=times, headers={"Retry-After": str(round(seconds))})

    def respond(self, exchange: Exchange) -> None:
        answer = self._if_changed(exchange, self._answer(exchange.path))
        has_archive = answer.headers.get("Content-Type") == "application/zip"
        fault = self.take_fault(exchange.path, lambda fault: fault.action != "truncate" or has_archive)
        if fault:
            exchange.apply(fault, answer)
        else:
            exchange.send(answer)

    @staticmethod
    def _if_changed(exchange: Exchange, answer: Answer) -> Answer:
        etag = answer.headers.get("ETag")
        unchanged = etag is not None and exchange.headers.get("If-None-Match") == etag
        return Answer(304, headers={"ETag": etag}) if unchanged and etag else answer

    def _answer(self, raw_path: str) -> Answer:
        path = unquote(urlsplit(raw_path).path)
        with self.lock:
            if match := CODELOAD.fullmatch(path):
                return self._codeload(*match.groups())
            if match := ARCHIVE.fullmatch(path):
                return self._archive(raw_path, *match.groups())
            if match := LISTING.fullmatch(path):
                return self._refs(raw_path, *match.groups())
        return NOT_FOUND

    def _archive(self, raw_path: str, owner: str, repo: str, wanted: str) -> Answer:
        repository = self._find(owner, repo)
        if repository is None:
            return self._redirected(raw_path) or NOT_FOUND
        commits = repository.commits(wanted)
        if len(commits) > 1:
            return Answer.text(300, f"the given path has multiple possibilities: {wanted}")
        for commit in commits:
            return Answer(302, headers={"Location": f"{self.url}/codeload/{owner}/{repo}/zip/{commit}"})
        return NOT_FOUND

    def _codeload(self, owner: str, repo: str, commit: str) -> Answer:
        repository = self._find(owner, repo)
        if repository is None or commit not in repository.archives:
            return NOT_FOUND
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": f"attachment; filename={repository.name}-{commit}.zip",
            "ETag": f'W/"{commit}"',
        }
        return Answer(200, repository.archives[commit], headers, chunked=not self.content_length)

    def _refs(self, raw_path: str, owner: str, repo: str) -> Answer:
        if not self.listing:
            return NOT_FOUND
        repository = self._find(owner, repo)
        if repository is None:
            # GitHub does not reveal whether a repository exists or is private: it asks for a sign-in.
            refusal = {"WWW-Authenticate": 'Basic realm="GitHub"'}
            return self._redirected(raw_path) or Answer.text(401, "Repository not found.", **refusal)
        if "service=git-upload-pack" not in urlsplit(raw_path).query:
            return Answer.text(403, "Please upgrade your git client.")
        headers = {"Content-Type": "application/x-git-upload-pack-advertisement", "Cache-Control": "no-cache"}
        return Answer(200, repository.advertisement(), headers)

    def _redirected(self, raw_path: str) -> Answer | None:
        return Answer(302, headers={"Location": self.proxy + raw_path}) if self.proxy else None

    def _find(self, owner: str, repo: str) -> Repository | None:
        # GitHub ignores the case of names.
        return self._repositories.get((owner.lower(), repo.lower()))

    def _repository(self, owner: str, repo: str) -> Repository:
        return self._repositories.setdefault((owner.lower(), repo.lower()), Repository(repo))

    def _keep(self, owner: str, repo: str, ref: str, commit: str, archive: bytes) -> None:
        with self.lock:
            repository = self._repository(owner, repo)
            repository.refs[ref] = commit
            repository.annotated.pop(ref, None)
            repository.archives[commit] = archive


def _packet(line: str) -> bytes:
    """``line`` in git's framing: its length in four hexadecimal digits, its text, a line feed."""
    data = line.encode() + b"\n"
    return b"%04x%b" % (len(data) + 4, data)


def _given(files: Mapping[str, str | bytes], links: Mapping[str, str]) -> list[Entry]:
    entries = [Entry(name, text.encode() if isinstance(text, str) else text) for name, text in files.items()]
    entries += [Entry(name, target.encode(), LINK) for name, target in links.items()]
    return sorted(entries, key=lambda entry: entry.name)


def _folder(folder: Path) -> list[Entry]:
    """The files and symbolic links under ``folder``, without the results of builds."""
    if not folder.is_dir():
        raise NotADirectoryError(folder)
    paths = (path for path in folder.rglob("*") if EXCLUDED.isdisjoint(path.relative_to(folder).parts))
    entries = [_entry(path, path.relative_to(folder).as_posix()) for path in paths if path.is_symlink() or path.is_file()]
    return sorted(entries, key=lambda entry: entry.name)


def _entry(path: Path, name: str) -> Entry:
    if path.is_symlink():
        return Entry(name, str(path.readlink()).encode(), LINK)
    return Entry(name, path.read_bytes(), PROGRAM if path.stat().st_mode & 0o111 else FILE)


def _commit(entries: list[Entry]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    for entry in entries:
        digest.update(f"{entry.name}\0{entry.mode:o}\0{len(entry.content)}\0".encode() + entry.content)
    return digest.hexdigest()


def _zip(top: str, commit: str, entries: list[Entry]) -> bytes:
    """An archive like one of ``git archive``: one top folder, folders as entries, and the commit as the comment."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = commit.encode()
        for name in _folders(top, entries):
            _write(archive, Entry(name, b""))
        for entry in entries:
            _write(archive, Entry(f"{top}/{entry.name}", entry.content, entry.mode))
    return data.getvalue()


def _folders(top: str, entries: list[Entry]) -> list[str]:
    names = {f"{top}/"}
    for entry in entries:
        parts = entry.name.split("/")[:-1]
        names.update("/".join([top, *parts[:depth]]) + "/" for depth in range(1, len(parts) + 1))
    return sorted(names)


def _write(archive: zipfile.ZipFile, entry: Entry) -> None:
    info = zipfile.ZipInfo(entry.name, DATE)
    info.create_system = 3 if entry.mode else 0
    archive.writestr(info, entry.content, None if entry.name.endswith("/") else zipfile.ZIP_DEFLATED)
    # writestr sets its own mode. Set git's here, for the central directory, which is written when the archive is closed.
    info.external_attr = entry.mode << 16 or (0x10 if entry.name.endswith("/") else 0)
