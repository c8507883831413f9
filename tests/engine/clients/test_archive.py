"""The archive host's client, against the stand-in and against hosts that misbehave."""

from __future__ import annotations

import gc
import gzip
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from builds.engine.clients import archive, git_refs
from builds.engine.clients.archive import ArchiveHost
from builds.engine.clients.http import Deadline
from builds.engine.manuscript.url import ManuscriptUrl
from builds.errors import (
    ArchiveHostDown,
    ArchiveHostLimit,
    ArchiveHostRefused,
    ArchiveNotFound,
    ArchiveTooLarge,
    BuildError,
    BuildStopped,
    Fault,
)
from builds.lib.stop import Stop
from tests import standins
from tests.standins import GARBAGE

pytestmark = pytest.mark.usefixtures("must_end")

# urllib3 leaves the socket of an answer that it cannot read to the garbage collector.
LEFT_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FILES = {"myst.yml": "version: 1\n", "paper/myst.yml": "version: 1\n"}


@pytest.fixture(params=[True, False], ids=["with a list of refs", "without"])
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


def download(door: ArchiveHost, commit: str, to: Path) -> None:
    door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), to / "a.zip", max_bytes=1 << 20)


def fetched(host: standins.ArchiveHost, to: Path, tail: str, slug: str = "o/r") -> tuple[str, str]:
    """The ref and the path of the first source whose archive exists."""
    door = client(host)
    for source in door.sources(url(tail, slug)):
        try:
            door.download(source, to / "a.zip", max_bytes=1 << 20)
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


def test_a_repository_with_dots_in_its_name_is_found(host: standins.ArchiveHost, tmp_path: Path) -> None:
    host.add("o", "r.github.io", FILES)
    assert fetched(host, tmp_path, "main/myst.yml", "o/r.github.io") == ("main", "myst.yml")


def test_an_annotated_tag_resolves_to_its_commit(listing: standins.ArchiveHost) -> None:
    commit = listing.add("o", "r", FILES, ref="v1", kind="tags", annotated=True)
    [source] = client(listing).sources(url("v1/myst.yml"))
    assert (source.commit, source.location) == (commit, f"/o/r/archive/{commit}.zip")


def test_an_unknown_ref_raises_archive_not_found(listing: standins.ArchiveHost) -> None:
    listing.add("o", "r", FILES)
    with pytest.raises(ArchiveNotFound, match="repository, branch or file not found, or private"):
        client(listing).sources(url("none/myst.yml"))


def test_a_missing_repository_raises_archive_not_found(host: standins.ArchiveHost, tmp_path: Path) -> None:
    door = client(host)
    for source in door.sources(url("main/myst.yml")):
        with pytest.raises(ArchiveNotFound, match="o/r: repository, branch or file not found, or private"):
            door.download(source, tmp_path / "a.zip", max_bytes=1 << 20)


@pytest.mark.slow
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
def test_a_temporary_failure_is_tried_again(listing: standins.ArchiveHost, tmp_path: Path, fault: dict[str, Any]) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    source = door.at_commit(url("main/myst.yml"), commit, "myst.yml")
    listing.fail("/zip/", times=2, **fault)
    door.download(source, tmp_path / "a.zip", max_bytes=1 << 20)
    assert (tmp_path / "a.zip").read_bytes().endswith(commit.encode())


def test_a_retry_after_beyond_the_patience_ends_the_tries(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    source = door.at_commit(url("main/myst.yml"), commit, "myst.yml")
    listing.fail("/archive/", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ArchiveHostLimit, match="429 and asks to wait 1 h") as raised:
        door.download(source, tmp_path / "a.zip", max_bytes=1 << 20)
    assert (raised.value.cause.retry_after, raised.value.code) == (3600, "archive-host-limit")
    assert len(listing.requests) == 1


def test_the_time_of_a_limits_reset_is_read(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    reset = str(int(time.time()) + 1800)
    listing.fail("/archive/", status=403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset})
    with pytest.raises(ArchiveHostLimit) as raised:
        download(client(listing), commit, tmp_path)
    assert 1000 < (raised.value.cause.retry_after or 0) <= 1800


@pytest.mark.parametrize("header", ["²", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_time_to_wait_that_is_not_believed_is_not_waited_for(
    listing: standins.ArchiveHost, tmp_path: Path, header: str
) -> None:
    commit = listing.add("o", "r", FILES)
    listing.fail("/archive/", status=429, headers={"Retry-After": header}, times=99)
    with pytest.raises(ArchiveHostLimit) as raised:
        download(client(listing, patience_seconds=0), commit, tmp_path)
    assert raised.value.cause.retry_after is None


@pytest.mark.parametrize("status", [400, 403, 451])
def test_a_refusal_is_final(listing: standins.ArchiveHost, tmp_path: Path, status: int) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    listing.fail("/archive/", status=status, times=9)
    with pytest.raises(ArchiveHostRefused, match=str(status)):
        door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", max_bytes=1 << 20)
    assert len(listing.requests) == 1


def test_an_unreachable_host_is_named_in_the_error(tmp_path: Path) -> None:
    door = ArchiveHost("http://127.0.0.1:9", patience_seconds=1)
    with pytest.raises(ArchiveHostDown, match=r"127\.0\.0\.1 could not be reached"):
        door.download(door.at_commit(url("main/myst.yml"), "0" * 40, "myst.yml"), tmp_path / "a.zip", max_bytes=1 << 20)


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
        "http://[::1",
        "https://[github.com]/",
        "https://github.com:²/",
        "//",
        "",
    ],
)
def test_a_redirect_to_an_unknown_host_is_not_followed(listing: standins.ArchiveHost, tmp_path: Path, location: str) -> None:
    commit = listing.add("o", "r", FILES)
    door = client(listing)
    listing.fail("/archive/", action="redirect", location=location, times=99)
    with pytest.raises(ArchiveHostRefused, match="redirected"):
        door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", max_bytes=1 << 20)


@pytest.mark.parametrize("target", ["https://codeload.github.com/o/r/zip/x", "https://objects.githubusercontent.com/x?token=y"])
def test_redirects_to_hosts_of_github_are_allowed(listing: standins.ArchiveHost, tmp_path: Path, target: str) -> None:
    """A test can't reach these hosts, so it only checks that the redirect is allowed."""
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
        door._may_go_to = lambda address: True  # type: ignore[method-assign]  # as if the other host were one of GitHub's
        [source] = door.sources(url("main/myst.yml"))
        door.download(source, tmp_path / "a.zip", max_bytes=1 << 20)
        assert all("Authorization" in request.headers for request in listing.requests)
        assert [request.headers.get("Authorization") for request in other.requests] == [None]


def test_a_netrc_file_of_the_machine_is_ignored(
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
        with pytest.raises(ArchiveTooLarge, match=r"larger than 5 kB"):
            door.download(door.at_commit(url("main/myst.yml"), commit, "myst.yml"), tmp_path / "a.zip", max_bytes=5000)


def test_a_stop_interrupts_a_download_from_a_host_that_hangs(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    listing.fail("/archive/", action="hang")
    door, stop = client(listing, patience_seconds=60), Stop()
    threading.Timer(0.3, stop.set, ["Cancelled."]).start()
    started_at = time.monotonic()
    with pytest.raises(BuildStopped):
        door.download(door.at_commit(url("main/myst.yml"), commit, "m"), tmp_path / "a.zip", max_bytes=1 << 20, stop=stop)
    assert time.monotonic() - started_at < 20, "it waited for the host's answer"


@pytest.mark.parametrize("action", ["drip-headers", "drip-body", "huge"])
def test_a_list_of_refs_that_does_not_end_is_not_waited_for(
    listing: standins.ArchiveHost, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    """Every byte of it comes within the time limit between two pieces. The addresses that an archive may have are tried instead."""
    monkeypatch.setattr(archive, "LISTING_SECONDS", 0.5)
    monkeypatch.setattr(git_refs, "MAX_BYTES", 1_000_000)
    listing.add("o", "r", FILES)
    listing.fail("info/refs", action=action, every=0.05, times=99)
    sources = client(listing, patience_seconds=1).sources(url("main/myst.yml"))
    assert sources[0].location == "/o/r/archive/refs/heads/main.zip"


@pytest.mark.parametrize("action", ["drip-headers", "drip-body"])
def test_a_download_that_drips_is_cut_off(
    listing: standins.ArchiveHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: Any
) -> None:
    monkeypatch.setattr(archive, "SECONDS_PER_MEGABYTE", 0.5)
    commit = listing.add("o", "r", FILES)
    listing.fail("/zip/", action=action, every=0.05, times=99)
    with pytest.raises(ArchiveHostDown, match=r"too slowly|did not answer within 0\.5 s"):
        download(client(listing, patience_seconds=0), commit, tmp_path)


def test_a_download_that_makes_progress_may_take_longer(
    listing: standins.ArchiveHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each piece prolongs the deadline here, so only a drip can exceed it."""
    prolonged = []
    monkeypatch.setattr(archive, "MEGABYTE", 100_000)
    monkeypatch.setattr(Deadline, "prolong", lambda _deadline, seconds: prolonged.append(seconds))
    commit = listing.add("o", "r", {"data": os.urandom(900_000)})
    download(client(listing), commit, tmp_path)
    assert 1 <= len(prolonged) <= 9


@pytest.mark.slow
@LEFT_SOCKETS
@pytest.mark.parametrize("part", ["/archive/", "/zip/"])
@pytest.mark.parametrize("data", GARBAGE, ids=repr)
def test_garbage_is_the_hosts_fault(listing: standins.ArchiveHost, tmp_path: Path, part: str, data: bytes) -> None:
    commit = listing.add("o", "r", FILES)
    listing.fail(part, action="raw", body=data, times=99)
    with pytest.raises(BuildError) as raised:
        download(client(listing, patience_seconds=0), commit, tmp_path)
    assert raised.value.fault == Fault.OUTSIDE
    gc.collect()


LISTINGS = [b"", b"zzzz", b"0000" * 1000, b"0001" * 1000, b"ffff", b"-001", b"<html>Sign in</html>", b"\xff" * 1000]


@pytest.mark.slow
@LEFT_SOCKETS
@pytest.mark.parametrize("data", [*GARBAGE, *(b"HTTP/1.1 200 OK\r\n\r\n" + body for body in LISTINGS)], ids=repr)
def test_without_a_valid_list_of_refs_the_likely_addresses_are_tried(listing: standins.ArchiveHost, data: bytes) -> None:
    listing.fail("info/refs", action="raw", body=data, times=99)
    sources = client(listing, patience_seconds=0).sources(url("main/myst.yml"))
    assert [source.commit for source in sources] == ["", "", ""]
    gc.collect()


@LEFT_SOCKETS
@pytest.mark.parametrize("length", ["²", "-5", "1, 2", "9" * 30])
def test_a_length_that_is_not_a_number_does_not_matter(listing: standins.ArchiveHost, tmp_path: Path, length: str) -> None:
    commit = listing.add("o", "r", FILES)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
    listing.fail("/zip/", action="raw", body=head.encode("latin-1") + b"data")
    try:
        download(client(listing, patience_seconds=0), commit, tmp_path)
    except BuildError as error:
        assert error.fault == Fault.OUTSIDE  # some of these lengths are refused, none is a bug
    gc.collect()


def test_a_compressed_archive_is_not_decompressed(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    packed = gzip.compress(b"\0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    commit = listing.add("o", "r", FILES)
    listing.fail("/zip/", action="raw", body=head + packed)
    download(client(listing), commit, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == packed


def test_a_loop_of_redirects_ends(listing: standins.ArchiveHost, tmp_path: Path) -> None:
    commit = listing.add("o", "r", FILES)
    listing.fail("/archive/", action="redirect", location="?again", times=99)
    with pytest.raises(ArchiveHostRefused, match="redirected too many times"):
        download(client(listing), commit, tmp_path)


def test_a_full_disk_is_not_the_hosts_fault(listing: standins.ArchiveHost) -> None:
    commit = listing.add("o", "r", FILES)
    with pytest.raises(OSError, match="No space left on device"):
        client(listing).download(
            client(listing).at_commit(url("main/myst.yml"), commit, "m"), Path("/dev/full"), max_bytes=1 << 20
        )


def test_the_number_of_guesses_is_limited() -> None:
    """An address may have hundreds of parts, and each would be asked for three times."""
    with standins.ArchiveHost(listing=False) as host:
        host.add("o", "r", FILES, ref="a/b/c/d/e/f")
        sources = client(host).sources(url("/".join("abcdefghijklmnopqrstuvwxyz") + "/myst.yml"))
    assert len(sources) == 3 * archive.MAX_GUESSED_PARTS
    assert sources[0].ref == "a/b/c/d/e/f"
