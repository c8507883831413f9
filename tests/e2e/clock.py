"""A wall clock that a test can step, for the programs of a service that it starts. Needs Linux and a C compiler."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """``environment`` is for the programs whose clock it shifts. Programs that builds run get another environment, and the true clock."""

    def __init__(self, folder: Path) -> None:
        """Compile it into ``folder``.

        Raises:
            OSError: the compiler can't be run.
            subprocess.CalledProcessError: it can't compile this.
        """
        self._file, library = folder / "clock", folder / "clock.so"
        self.shift = 0
        self.step_to(0)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}

    def step_to(self, seconds: int) -> None:
        """Shift the clock by ``seconds`` from the true time."""
        self.shift = seconds
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    @staticmethod
    def missing() -> str:
        """Why there can be no clock on this machine; "" if there can."""
        if sys.platform != "linux":
            return "the clock can be shifted only on Linux"
        return "" if shutil.which("cc") else "no C compiler"
