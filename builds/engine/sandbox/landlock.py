"""Landlock's rules, as builds/engine/tools/enter.py applies them, and which version of Landlock the kernel has."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def version() -> int:
    """The kernel's Landlock version; 0 if it has none, or the package that knows its rights is missing."""
    if sys.platform != "linux" or find_spec("landlockpy") is None:
        return 0
    from landlockpy import abi_version  # noqa: PLC0415 - bubblewrap works without this package

    return abi_version()


def rules(*, read: Sequence[str], write: Sequence[str], devices: Sequence[str], no_tcp: bool) -> dict[str, Any] | None:
    """The rules for a build: which paths it may read and write, its devices, and whether TCP is forbidden. None without Landlock.

    ``handled`` are the rights that are refused elsewhere: of files, of TCP ports, and towards processes outside. ``paths`` are paths
    with the rights that hold below them if they are folders, and those that hold if they are not. All are numbers for the kernel, and
    only rights that this kernel knows.
    """
    if not version():
        return None
    from landlockpy import AccessFS, AccessNet, Scope  # noqa: PLC0415 - as above
    from landlockpy.flags import fs_for_abi, net_for_abi, scope_for_abi  # noqa: PLC0415 - as above

    everything = fs_for_abi(version())
    look = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE
    use = look | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV
    net = AccessNet.BIND_TCP | AccessNet.CONNECT_TCP if no_tcp else AccessNet.NONE
    scoped = Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL
    pairs = [
        (path, rights & everything) for paths, rights in ((read, look), (write, everything), (devices, use)) for path in paths
    ]
    return {
        "handled": [int(everything), int(net & net_for_abi(version())), int(scoped & scope_for_abi(version()))],
        "paths": [(path, int(rights), int(rights & ~AccessFS.READ_DIR)) for path, rights in pairs],
    }
