"""Follows a running command: reads its output as it comes, and checks its limits, until it has ended or has to end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from resource import struct_rusage

from builds.engine.process.ceilings import Hit
from builds.engine.process.command import Completed
from builds.engine.process.lines import LineSplitter
from builds.engine.process.output import OutputAllowance
from builds.engine.process.watcher import Watcher
from builds.lib.stop import Stop

READ_BYTES = 64 * 1024
TICK_SECONDS = 0.1
CHECK_SECONDS = 0.2
CLOSED_SECONDS = 0.01


class Streams:
    """The output of a process. ``on_lines`` gets ``stdout`` or ``stderr``, and the lines that have come, at least one."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_lines: Callable[[str, Sequence[str]], None],
        redact: Callable[[str], str],
        allowance: OutputAllowance,
    ) -> None:
        self.allowance = allowance
        self._on_lines = on_lines
        self._streams = {"stdout": process.stdout, "stderr": process.stderr}
        self._selector = selectors.DefaultSelector()
        for name, stream in self._streams.items():
            if stream:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream.fileno(), selectors.EVENT_READ, (name, LineSplitter(redact=redact)))
        self._end_descriptor = _end_descriptor(process.pid)
        if self._end_descriptor is not None:
            self._selector.register(self._end_descriptor, selectors.EVENT_READ)

    def read(self, timeout: float) -> bool:
        """Read once from each stream that has output or has ended. Whether there was any. Also returns when the process ends."""
        if not self._selector.get_map():
            time.sleep(min(timeout, CLOSED_SECONDS))
            return False
        ready = self._selector.select(timeout)
        for key, _events in ready:
            if key.fd == self._end_descriptor:
                self._selector.unregister(key.fd)
                continue
            with suppress(BlockingIOError):
                data = os.read(key.fd, READ_BYTES)
                if data:
                    self._pass_on(key, data)
                else:
                    self._end(key)
        return bool(ready)

    def read_rest(self) -> None:
        """Read what is left in the pipes once nothing writes to them any more."""
        while not self.allowance.is_used_up and self.read(0):
            pass
        for key in list(self._selector.get_map().values()):
            if key.fd != self._end_descriptor:
                self._end(key)

    def close(self) -> None:
        self._selector.close()
        if self._end_descriptor is not None:
            os.close(self._end_descriptor)
        for stream in self._streams.values():
            if stream:
                stream.close()

    def _pass_on(self, key: selectors.SelectorKey, data: bytes) -> None:
        self.allowance.take(data)
        name, splitter = key.data
        if lines := splitter.feed(data):
            self._on_lines(name, lines)

    def _end(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fd)
        name, splitter = key.data
        if lines := splitter.flush():
            self._on_lines(name, lines)


def _end_descriptor(pid: int) -> int | None:
    """A descriptor that can be read once the process has ended. None where the system has no such thing (before Linux 5.3)."""
    try:
        return os.pidfd_open(pid) if sys.platform == "linux" else None
    except OSError:
        return None


class Watch:
    """Follows ``process`` until its end, or until it hits a limit or its deadline (:func:`time.monotonic`), or ``stop`` is set."""

    def __init__(
        self, process: subprocess.Popen[bytes], streams: Streams, watcher: Watcher, *, deadline: float, stop: Stop
    ) -> None:
        self._process, self._streams, self._watcher, self._stop = process, streams, watcher, stop
        self._deadline = deadline
        self._started_at = self._ended_at = time.monotonic()
        self._status: int | None = None
        self._hit: Hit | None = None
        self._peak_memory = 0
        self._processor_seconds = 0.0
        self._timed_out = False

    @property
    def is_over(self) -> bool:
        """Whether the process has ended or has to. Nothing is read meanwhile."""
        return self._stop.is_set or time.monotonic() >= self._deadline or self._has_ended()

    def until_end(self) -> None:
        try:
            self._follow()
        finally:
            self._watcher.close()

    def _follow(self) -> None:
        next_check = self._started_at + CHECK_SECONDS
        while self._may_go_on():
            if self._streams.allowance.must_wait():
                time.sleep(TICK_SECONDS)
            else:
                self._streams.read(TICK_SECONDS)
            if time.monotonic() >= next_check:
                self._hit = self._watcher.check(self._process.pid)
                next_check = time.monotonic() + CHECK_SECONDS
            if self._has_ended():
                return

    def _may_go_on(self) -> bool:
        self._timed_out = time.monotonic() >= self._deadline
        return not (self._timed_out or self._stop.is_set or self._streams.allowance.is_used_up or self._hit)

    def _has_ended(self) -> bool:
        if self._status is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._record_end(status, usage)
        return self._status is not None

    def _record_end(self, status: int, usage: struct_rusage) -> None:
        self._status = status
        self._ended_at = time.monotonic()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._peak_memory = usage.ru_maxrss * 1024
        self._processor_seconds = usage.ru_utime + usage.ru_stime

    def read_rest(self) -> None:
        """Call once its tree has ended: reads the rest of the output, and whether the kernel ended it for a limit."""
        self._streams.read_rest()
        self._hit = self._hit or self._watcher.check_group()

    def finish(self) -> None:
        """Call once its tree was ended: its first process is at most a zombie."""
        if self._status is None:
            with suppress(ChildProcessError):
                _pid, status, usage = os.wait4(self._process.pid, 0)
                self._record_end(status, usage)
        self._streams.close()

    def completed(self, left_behind: int, orphans_seconds: float) -> Completed:
        """How it ended. ``orphans_seconds`` is the processor time of its processes that another process reaped."""
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else -signal.SIGKILL
        return Completed(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            duration_seconds=self._ended_at - self._started_at,
            peak_memory_bytes=max(self._peak_memory, self._watcher.peak_memory),
            peak_processes=self._watcher.peak_processes,
            processor_seconds=max(self._processor_seconds + orphans_seconds, self._watcher.processor_seconds),
            timed_out=self._timed_out and self._ended_at >= self._deadline,
            output_limit_hit=self._streams.allowance.is_used_up,
            left_behind=left_behind,
            hit=self._hit,
        )
