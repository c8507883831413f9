"""The address of a manuscript: ``https://github.com/{owner}/{repo}/blob/{ref}/{path}.yml`` (CONTRACT §1).

The ref and the path may both contain slashes, so the address does not show where the path begins; the archive host knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

SUFFIXES = (".yml", ".yaml")
HOSTS = ("github.com", "www.github.com")
MAX_URL_LENGTH = 2000

# GitHub's own rules for names: an owner is letters, digits and hyphens; a repository may also hold dots and underscores.
OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9_])?")
REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}")
# Not allowed in a ref (git-check-ref-format(1)), or dangerous in a path.
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")

EXAMPLE = "https://github.com/OWNER/REPOSITORY/blob/BRANCH/myst.yml"


class InvalidManuscriptUrl(ValueError):
    """The address is not that of a project file on GitHub; the message says why."""


@dataclass(frozen=True)
class Split:
    """One way to read the tail of an address."""

    ref: str
    path: str


@dataclass(frozen=True)
class ManuscriptUrl:
    """``tail`` has the decoded segments after ``/blob/``: first those of the ref, then those of the path."""

    owner: str
    repository: str
    tail: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ManuscriptUrl:
        """Read an address.

        Raises:
            InvalidManuscriptUrl: it is not the address of a ``.yml`` or ``.yaml`` file on GitHub.
        """
        if len(text) > MAX_URL_LENGTH:
            raise InvalidManuscriptUrl(f"The address is longer than {MAX_URL_LENGTH} characters.")
        owner, repository, tail = _parts(text)
        if not OWNER.fullmatch(owner):
            raise InvalidManuscriptUrl(f"{owner!r} is not a valid name for an owner on GitHub.")
        if not REPOSITORY.fullmatch(repository) or repository in (".", ".."):
            raise InvalidManuscriptUrl(f"{repository!r} is not a valid name for a repository on GitHub.")
        if any(segment in ("", ".", "..") or FORBIDDEN.search(segment) for segment in tail):
            raise InvalidManuscriptUrl("The address contains empty segments, '.', '..', backslashes or control characters.")
        if not tail[-1].lower().endswith(SUFFIXES):
            raise InvalidManuscriptUrl(f"The address must name a .yml or .yaml file, not {tail[-1]!r}.")
        return cls(owner, repository, tail)

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.repository}"

    def splits(self) -> Iterator[Split]:
        """Every way to read the tail as a ref and a path, the longest ref first."""
        for length in range(len(self.tail) - 1, 0, -1):
            yield Split("/".join(self.tail[:length]), "/".join(self.tail[length:]))


def _parts(text: str) -> tuple[str, str, tuple[str, ...]]:
    if not text.isprintable() or text != text.strip():
        raise InvalidManuscriptUrl("The address begins or ends with a space, or contains control characters.")
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise InvalidManuscriptUrl(f"This is not a valid address: {error}.") from error
    if url.scheme not in ("http", "https") or host not in HOSTS or port not in (None, 80, 443):
        raise InvalidManuscriptUrl(f"The address must point to a file on GitHub, like {EXAMPLE}.")
    if url.username is not None or url.password is not None:
        raise InvalidManuscriptUrl("The address must not contain a user name or a password.")
    segments = [unquote(segment) for segment in url.path.split("/")[1:]]
    if len(segments) < 5 or segments[2] != "blob":
        raise InvalidManuscriptUrl(f"The address must point to a file on GitHub, like {EXAMPLE}.")
    if any("/" in segment for segment in segments):
        segments = "/".join(segments).split("/")
    return segments[0], segments[1], tuple(segments[3:])


def commit_link(slug: str, commit: str) -> str:
    """The address of a commit's page on GitHub; empty without a commit."""
    return f"https://github.com/{slug}/commit/{commit}" if commit else ""


def file_link(slug: str, commit: str, path: str, line: int | None = None) -> str:
    """The address of a file's page on GitHub, as the file is in a commit."""
    return f"https://github.com/{slug}/blob/{commit}/{quote(path)}" + (f"#L{line}" if line else "")


def compare_link(slug: str, before: str, commit: str) -> str:
    """The address of the page on GitHub that lists the commits after ``before`` up to ``commit``, and their changes."""
    return f"https://github.com/{slug}/compare/{before}...{commit}"
