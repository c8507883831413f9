"""Reads settings from the environment. An invalid value prevents the start, with one line that names the setting."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Read:
    """A setting as it was read at the start.

    ``is_set`` is whether the environment set it. ``file`` is the file that it was read from; empty if it was not. The value may be a
    secret, so ``repr`` leaves it out.
    """

    value: str = field(repr=False)
    default: str
    is_set: bool
    file: str = ""


# Every setting, in the order in which they were read. :mod:`jobsite.described` says what each means.
READ: dict[str, Read] = {}


class WrongSetting(SystemExit):
    """A setting can't be used. Not caught, it ends the program with one line on standard error."""

    def __init__(self, name: str, problem: str) -> None:
        self.line = f"jobsite: {name} {problem}"
        super().__init__(self.line)


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that ``<name>_FILE`` names. Secrets are often mounted as files."""
    file = os.environ.get(f"{name}_FILE")
    if file and name not in os.environ:
        try:
            value = Path(file).read_text().strip()
        except OSError as error:
            raise WrongSetting(f"{name}_FILE", f"can't be read: {error}") from error
        READ.setdefault(name, Read(value, default, is_set=True, file=file))
        return value
    value = os.environ.get(name, default)
    READ.setdefault(name, Read(value, default, is_set=name in os.environ))
    return value


def have_files_changed() -> bool:
    """Whether a file that a setting was read from has another content now, or can't be read."""
    return any(read.file and _content(read.file) != read.value for read in READ.values())


def _content(file: str) -> str | None:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return None


def boolean(name: str, *, default: bool) -> bool:
    value = text(name, "yes" if default else "no").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise WrongSetting(name, f"must be yes or no, not {value!r}")


def integer(name: str, default: int, *, minimum: int = 0, maximum: int = sys.maxsize) -> int:
    value = text(name, str(default)).strip()
    try:
        number = int(value)
    except ValueError:
        raise WrongSetting(name, f"must be a whole number, not {value!r}") from None
    if not minimum <= number <= maximum:
        limits = f"at least {minimum}" if maximum == sys.maxsize else f"between {minimum} and {maximum}"
        raise WrongSetting(name, f"must be {limits}, not {number}")
    return number


def url(name: str, default: str, *, schemes: tuple[str, ...] = ("http", "https"), may_be_no: bool = False) -> str:
    """An absolute address without its trailing slash. Empty if it is "no" and ``may_be_no``."""
    value = text(name, default).strip().rstrip("/")
    if may_be_no and value == "no":
        return ""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise WrongSetting(name, f"must be an address like {schemes[0]}://host, not {value!r}")
    return value


def bucket(name: str) -> tuple[str, str] | None:
    """A bucket of an S3-compatible service and a prefix in it, from ``s3://bucket/prefix``. None if it is not set."""
    value = text(name).strip().rstrip("/")
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme != "s3" or not BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise WrongSetting(name, f"must be a bucket like s3://bucket or s3://bucket/prefix, not {value!r}")
    return parts.netloc, parts.path.strip("/")


def make_folder(name: str, folder: Path) -> None:
    """Make the folder that a setting names, for the service only."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WrongSetting(name, f"can't be made: {error.strerror}: {folder}") from None


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = text(name, default).strip()
    if value not in choices:
        raise WrongSetting(name, f"must be one of {', '.join(choices)}, not {value!r}")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """A comma-separated list of addresses and networks."""
    try:
        return [ip_network(word) for word in words(name)]
    except ValueError as error:
        raise WrongSetting(name, f"must be addresses or networks like 10.0.0.0/8: {error}") from None


def private_hosts(name: str) -> list[str]:
    """A comma-separated list of hosts, each with or without a port. Wildcards and addresses of this machine are refused."""
    hosts = words(name)
    for host in hosts:
        try:
            parts = urlsplit(f"//{host}")
            plain = bool(parts.hostname) and parts.netloc == host and "@" not in host and (parts.port is None or parts.port > 0)
        except ValueError:
            plain = False
        if not plain or host.startswith((".", "*")):
            raise WrongSetting(name, f"must be single hosts like mirror.example.org or mirror.example.org:8081, not {host!r}")
        if _is_own(parts.hostname or ""):
            raise WrongSetting(name, f"must not name this machine or a link-local address, which builds never reach: {host!r}")
    return hosts


def mirrors(name: str) -> dict[str, str]:
    """A comma-separated list of pairs ``address=mirror``. Returns the mirror of each address. Mirrors on this machine are refused."""
    found = {}
    for pair in words(name):
        address, _, mirror = pair.partition("=")
        places = [urlsplit(each) for each in (address, mirror)]
        if any(place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc for place in places):
            raise WrongSetting(name, f"must be pairs like https://pypi.org/simple=https://mirror.example.org/pypi, not {pair!r}")
        if _is_own(places[1].hostname or ""):
            raise WrongSetting(name, f"must not name this machine or a link-local address, which builds never reach: {pair!r}")
        found[address.rstrip("/")] = mirror.rstrip("/")
    return found


def _is_own(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
