"""The archive host's client against the stand-in, and against hosts that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from builds.clients.archive import ArchiveHost
from builds.errors import ArchiveHostDown, ArchiveHostRefused, ArchiveNotFound, ArchiveTooLarge, BuildStopped
from builds.manuscript_url import ManuscriptUrl
from builds.stages import Stop
from tests import standins

FILES = {"myst.yml": "version: 1\n", "paper/myst.yml": "version: 1\n"}


@pytest.fixture(params=[True, False], ids=["with a listing of refs", "without"])
def host(request: pytest.FixtureRequest) -> Iterator[standins.ArchiveHost]:
    with standins.ArchiveHost(listing=request.param) as server:
        yield server


@pytest.fixture
def listing() -> Iterator[standins.ArchiveHost]:
    with standins.ArchiveHost() as server:
        yield server


def client(host: standins.ArchiveHost, **options: Any) -> ArchiveHost:
    return ArchiveHost(host.url, **{"patience_seconds": 5, **options})


def url(tail: str, slug: str = "o/r") -> ManuscriptUrl:
    return ManuscriptUrl.parse(f"https://github.com/{slug}/blob/{tail}")


def fetched(host: standins.ArchiveHost, to: Path, tail: str, slug: str = "o/r") -> tuple[str, str]:
    """The ref and the path of the first source whose archive is there."""
    door = client(host)
    for source in door.sources(url(tail, slug)):
        try:
            door.download(source, to / "a.zip", most_bytes=1 << 20)
        except ArchiveNotFound:
            continue
        return source.ref, source.path
    raise ArchiveNotFound


@pytest.mark.parametrize(
    ("ref", "kind", "tail", "path"),
    [
        ("main", "heads", "main/myst.yml", "myst.yml"),
        ("main", "heads", "main/paper/myst.yml", "paper/myst.yml"),
        ("feature/x", "heads", "feature/x/paper/myst.yml", "paper/myst.yml"),
        ("a/b/c/d", "heads", "a/b/c/d/myst.yml", "myst.yml"),
        ("v1.0.2", "tags", "v1.0.2/myst.yml", "myst.yml"),
        ("release/1.x", "tags", "release/1.x/myst.yml", "myst.yml"),
        ("fix-#12", "heads", "fix-%2312/myst.yml", "myst.yml"),
        ("50%", "heads", "50%25/myst.yml", "myst.yml"),
        ("a+b", "heads", "a+b/myst.yml", "myst.yml"),
        ("dünn", "heads", "d%C3%BCnn/myst.yml", "myst.yml"),
        ("abcdef1", "heads", "abcdef1/myst.yml", "myst.yml"),
    ],
)
def test_any_branch_and_tag_is_found(
    host: standins.ArchiveHost, tmp_path: Path, ref: str, kind: Any, tail: str, path: str
) -> None:
    host.add("o", "r", FILES, ref=ref, kind=kind)
    assert fetched(host, tmp_path, tail) == (ref, path)


@pytest.mark.parametrize("digits", [40, 12, 7])
def test_a_commit_is_found(host: standins.ArchiveHost, tmp_path: Path, digits: int) -> None:
    commit = host.add("o", "r", FILES)
    assert fetched(host, tmp_path, f"{commit[:digits]}/paper/myst.yml") == (commit[:digits], "paper/myst.yml")


def test_repositories_may_have_dots_in_their_name(host: standins.ArchiveHost, tmp_path: Path) -> None:
    host.add("o", "r.github.io", FILES)
    assert fetched(host, tmp_path, "main/myst.yml", "o/r.github.io") == ("main", "myst.yml")


def test_an_annotated_tag_stands_for_its_commit(listing: standins.ArchiveHost) -> None:
    commit = listing.add("o", "r", FILES, ref="v1", kind="tags", annotated=True)
    [source] = client(listing).sources(url("v1/myst.yml"))
    assert (source.commit, source.location) == (commit, f"/o/r/archive/{commit}.zip")


def test_what_is_no_ref_is_told(listing: standins.ArchiveHost) -> None:
    listing.add("o", "r", FILES)
    with pytest.raises(ArchiveNotFound, match="repository, branch or file not found, or private"):
        client(listing).sources(url("none/myst.yml"))


def test_a_missing_repository_is_told(host: standins.ArchiveHost, tmp_path: Path) -> None:
    door = client(host)
    for source in door.sources(url("main/myst.yml")):
        with pytest.raises(ArchiveNotFound, match="o/r: repository, branch or file not found, or private"):
            door.download(source, tmp_path / "a.zip", most_bytes=1 << 20)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 502},
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 403, "headers": {"X-RateLimit-Remaining": "0"}},
        {"status": 403, "headers": {"Retry-After": "0"}},
        {"action": "reset"},
        {"action": "truncate"},
    ],
    ids=str,
)
def test_a_host_that_stumbles_is_asked_again(listing: standins.ArchiveHost, tmp_path: Path, fault: dict[str, Any]) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    source = door.at_commit(url("main/myst.yml"), commit, "myst.yml")
    listing.fail("/zip/", times=2, **fault)
    door.download(source, tmp_path / "a.zip", most_bytes=1 << 20)
    assert (tmp_path / "a.zip").read_bytes().endswith(commit.encode())


def test_retry_after_is_honoured_and_not_outwaited(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    source = door.at_commit(url("main/myst.yml"), commit, "myst.yml")
    listing.fail("/archive/", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ArchiveHostDown, match="429"):
        door.download(source, tmp_path / "a.zip", most_bytes=1 << 20)
    assert len(listing.requests) == 1


@pytest.mark.parametrize("status", [400, 403, 451])
def test_a_refusal_is_final(listing: standins.ArchiveHost, tmp_path: Path, status: int) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    listing.fail("/archive/", status=status, times=9)
    with pytest.raises(ArchiveHostRefused, match=str(status)):
        door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", most_bytes=1 << 20)
    assert len(listing.requests) == 1


def test_an_unreachable_host_is_named_after_our_patience(tmp_path: Path) -> None:
    door = ArchiveHost("http://127.0.0.1:9", patience_seconds=1)
    with pytest.raises(ArchiveHostDown, match=r"127\.0\.0\.1 could not be reached"):
        door.download(door.at_commit(url("main/myst.yml"), "0" * 40, "myst.yml"), tmp_path / "a.zip", most_bytes=1 << 20)


@pytest.mark.parametrize(
    "location",
    [
        "http://github.com/o/r.zip",
        "https://evil.example/o/r.zip",
        "https://github.com.evil.example/o/r.zip",
        "https://github.com@evil.example/o/r.zip",
        "https://github.com:8443/o/r.zip",
        "http://127.0.0.1:1/o/r.zip",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://github.com/x",
        "",
    ],
)
def test_a_redirect_to_a_strange_host_is_not_followed(listing: standins.ArchiveHost, tmp_path: Path, location: str) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    listing.fail("/archive/", action="redirect", location=location, times=99)
    with pytest.raises(ArchiveHostRefused, match="redirected"):
        door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", most_bytes=1 << 20)


@pytest.mark.parametrize("target", ["https://codeload.github.com/o/r/zip/x", "https://objects.githubusercontent.com/x?token=y"])
def test_the_hosts_of_github_are_followed(listing: standins.ArchiveHost, tmp_path: Path, target: str) -> None:
    """They can't be reached from a test, which shows that they are tried."""
    commit = listing.add("o", "r", FILES)
    door = client(listing, patience_seconds=0)
    assert door._may_go_to(target)
    assert door._may_go_to(f"{listing.url}/codeload/x")
    assert commit


def test_a_renamed_repository_is_followed(host: standins.ArchiveHost, tmp_path: Path) -> None:
    host.add("o", "new", FILES)
    for part in ("/o/old/archive/", "/o/old.git/"):
        new = part.replace("old", "new") + ("refs/heads/main.zip" if "archive" in part else "info/refs?service=git-upload-pack")
        host.fail(part, action="redirect", location=f"{host.url}{new}", times=99)
    assert fetched(host, tmp_path, "main/myst.yml", "o/old") == ("main", "myst.yml")


def test_the_token_goes_to_the_configured_host_only(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    with standins.ArchiveHost() as other:
        other.add("o", "r", FILES, commit=commit)
        door = client(listing, token="the-token")
        listing.fail("/zip/", action="redirect", location=f"{other.url}/codeload/o/r/zip/{commit}")
        door._may_go_to = lambda address: True  # type: ignore[method-assign]  # as if the other were one of GitHub's hosts
        [source] = door.sources(url("main/myst.yml"))
        door.download(source, tmp_path / "a.zip", most_bytes=1 << 20)
        assert all("Authorization" in request.headers for request in listing.requests)
        assert [request.headers.get("Authorization") for request in other.requests] == [None]


def test_a_netrc_of_the_machine_is_kept_out(
    listing: standins.ArchiveHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    listing.add("o", "r", FILES)
    client(listing).sources(url("main/myst.yml"))
    assert "Authorization" not in listing.requests[0].headers


@pytest.mark.parametrize("announced", [True, False])
def test_a_large_archive_is_refused(tmp_path: Path, announced: bool) -> None:
    with standins.ArchiveHost(content_length=announced) as host:
        commit = host.add("o", "r", {"myst.yml": "", "data": quote(str(list(range(20_000))))})
        door = client(host)
        with pytest.raises(ArchiveTooLarge, match=r"larger than the 5 kB"):
            door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", most_bytes=5000)


def test_a_stop_leaves_a_host_that_hangs(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    listing.fail("/archive/", action="hang")
    door, stop = client(listing, patience_seconds=60), Stop()
    threading.Timer(0.3, stop.set, ["Cancelled."]).start()
    started_at = time.monotonic()
    with pytest.raises(BuildStopped):
        door.download(door.at_commit(url("main/myst.yml"), commit, "m"), tmp_path / "a.zip", most_bytes=1 << 20, stop=stop)
    assert time.monotonic() - started_at < 20, "it waited for the host's answer"
