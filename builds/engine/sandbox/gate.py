"""Where bubblewrap waits: it has made the sandbox by then, and nothing runs in it yet."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Gate:
    """``info`` can be read, and brings what bubblewrap says of the sandbox. What is written to ``go`` lets bubblewrap go on."""

    info: int
    go: int

    @cached_property
    def first_process(self) -> int | None:
        """The id of the sandbox's first process, as soon as it is there. None if bubblewrap has ended before; it has printed why."""
        said = b""
        while b"}" not in said and (part := os.read(self.info, 4096)):
            said += part
        return int(json.loads(said)["child-pid"]) if said else None

    def open(self) -> None:
        with suppress(BrokenPipeError):  # bubblewrap has ended, and its exit code says so
            os.write(self.go, b"go\n")

    def close(self) -> None:
        os.close(self.info)
        os.close(self.go)
