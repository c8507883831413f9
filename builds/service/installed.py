"""The folder of this release, and the link through which ``serve`` may have been started. An upgrade points it at the next release."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from builds.lib import release


class Installation:
    """``started_in`` is the folder that ``serve`` was started in, as its command line names it."""

    def __init__(self, started_in: Path | None = None) -> None:
        program = Path(sys.argv[0])
        self._started_in = started_in or (program.absolute().parent if program.name == "manage.py" else release.ROOT)

    def command(self, *arguments: str) -> Callable[[], list[str]]:
        """A management command of the release that is installed when the program starts.

        The program is started by the release's own folder, so that it uses the files of one release only.
        """

        def find() -> list[str]:
            return [self._python(), str(self._started_in.resolve() / "manage.py"), *arguments]

        return find

    def restart_in_own_folder(self) -> None:
        """If this process was started through a link, replace it with the same one that was started by the folder's own name.

        Its programs can then be forked from it: none of them ever uses a file of the next release.
        """
        argv = self.command("serve", "--started-in", str(self._started_in))()
        if self._started_in != self._started_in.resolve():
            os.execv(argv[0], argv)  # noqa: S606 - the same program

    def _python(self) -> str:
        """The interpreter, in the release that is installed now if it belongs to a release."""
        for folder in (self._started_in, release.ROOT):
            if Path(sys.executable).is_relative_to(folder):
                return str(self._started_in.resolve() / Path(sys.executable).relative_to(folder))
        return sys.executable
