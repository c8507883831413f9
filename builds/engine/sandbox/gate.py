"""Makes bubblewrap wait once it has made the sandbox, before anything runs in it."""

from __future__ import annotations

import errno
import os
import re
import select
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

CHILD = re.compile(rb'"child-pid": *(\d+)\D')
# On a machine that is far too busy. Otherwise it takes milliseconds.
INFO_SECONDS = 20.0


@dataclass(frozen=True)
class Gate:
    """``info`` can be read, and has what bubblewrap reports about the sandbox. What is written to ``go`` lets bubblewrap go on."""

    info: int
    go: int

    @cached_property
    def first_process(self) -> int | None:
        """The id of the sandbox's first process, as soon as it is there. None if bubblewrap has ended before; it has printed why.

        Raises:
            OSError: bubblewrap has not said it in time, or not all of it.
        """
        said = b""
        while b"}" not in said:  # all of it: bubblewrap would end if nobody read the rest
            if not select.select([self.info], [], [], INFO_SECONDS)[0]:
                raise OSError(errno.ETIMEDOUT, "bubblewrap did not say which process it has made")
            part = os.read(self.info, 4096)
            if not part:
                break
            said += part
        found = CHILD.search(said)
        if said and not found:
            raise OSError(errno.EPROTO, "bubblewrap did not say all of what it has made")
        return int(found[1]) if found else None

    def open(self) -> None:
        with suppress(BrokenPipeError):  # bubblewrap has ended, and its exit code says so
            os.write(self.go, b"go\n")

    def close(self) -> None:
        os.close(self.info)
        os.close(self.go)
