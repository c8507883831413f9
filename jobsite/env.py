"""Reading the environment, loudly: a value that makes no sense stops the start with one line that names it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


@dataclass(frozen=True)
class Read:
    """A setting as it was read at the start: its text, the text that it has where nobody sets it, and where the former comes from.

    ``file`` is the file that it was read from; empty otherwise. The value may be a secret, and stands in no representation.
    """

    value: str = field(repr=False)
    default: str
    is_set: bool
    file: str = ""


# Every setting that was asked for, in the order of the asking; what each means stands in :mod:`jobsite.described`.
READ: dict[str, Read] = {}


class WrongSetting(SystemExit):
    """Raised for a setting that can't be used. Ends the program with its one line on standard error."""

    def __init__(self, name: str, problem: str) -> None:
        self.line = f"jobsite: {name} {problem}"
        super().__init__(self.line)


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that ``<name>_FILE`` names (how secrets are mounted)."""
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


def boolean(name: str, *, default: bool) -> bool:
    value = text(name, "yes" if default else "no").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise WrongSetting(name, f"must be yes or no, not {value!r}")


def integer(name: str, default: int, *, least: int = 0, most: int = sys.maxsize) -> int:
    value = text(name, str(default)).strip()
    try:
        number = int(value)
    except ValueError:
        raise WrongSetting(name, f"must be a whole number, not {value!r}") from None
    if not least <= number <= most:
        raise WrongSetting(name, f"must be between {least} and {most}, not {number}")
    return number


def url(name: str, default: str, *, schemes: tuple[str, ...] = ("http", "https"), may_be_no: bool = False) -> str:
    """An absolute address without its trailing slash; empty where it is "no" and may be."""
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


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = text(name, default).strip()
    if value not in choices:
        raise WrongSetting(name, f"must be one of {', '.join(choices)}, not {value!r}")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def private_hosts(name: str) -> list[str]:
    """A comma-separated list of hosts, each with or without a port: none that is this machine, and none that stands for many."""
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
            raise WrongSetting(name, f"must not name this machine, its link or every address, which builds never reach: {host!r}")
    return hosts


def mirrors(name: str) -> dict[str, str]:
    """A comma-separated list of pairs ``address=mirror``: which address each mirror stands for. None may be this machine."""
    found = {}
    for pair in words(name):
        address, _, mirror = pair.partition("=")
        places = [urlsplit(each) for each in (address, mirror)]
        if any(place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc for place in places):
            raise WrongSetting(name, f"must be pairs like https://pypi.org/simple=https://mirror.example.org/pypi, not {pair!r}")
        if _is_own(places[1].hostname or ""):
            raise WrongSetting(name, f"must not name this machine or its link, which builds never reach: {pair!r}")
        found[address.rstrip("/")] = mirror.rstrip("/")
    return found


def _is_own(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
