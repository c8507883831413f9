"""Streaming responses that stay open after their view has returned, so that no thread waits for news (docs/decisions/live-log.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from waitress.channel import ClientDisconnected
from waitress.task import WSGITask

if TYPE_CHECKING:
    from jobsite.web.channel import Channel

# A view finds a function here. It takes what to call with the answer's :class:`Stream` once the view's own part has been written.
STREAM = "jobsite.stream"
# A client that has not read this much of a stream loses its connection. It can ask again.
MAX_UNREAD_BYTES = 1 << 20


class Stream:
    """A response that stays open. Any thread may use it: the server's loop does the work, in the order of the calls."""

    def __init__(self, channel: Channel, *, is_chunked: bool) -> None:
        self._channel, self._is_chunked = channel, is_chunked

    @property
    def is_open(self) -> bool:
        """Whether the client is still connected and the answer has not ended."""
        return self._channel.stream is self and bool(self._channel.connected)

    def _write(self, data: bytes) -> None:
        if self.is_open and self._channel.total_outbufs_len > MAX_UNREAD_BYTES:
            self._channel.drop()
        elif self.is_open:
            self._send(b"%X\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def _end(self) -> None:
        if self.is_open:
            self._send(b"0\r\n\r\n" if self._is_chunked else b"")
            self._channel.stream, self._channel.close_when_flushed = None, True

    def _send(self, data: bytes) -> None:
        try:
            self._channel.write_apart(data)
        except (ClientDisconnected, OSError):  # no file for what is unread, for example: the other streams must get theirs
            self._channel.drop()

    @staticmethod
    def write_to_all(streams: Sequence[Stream], data: bytes) -> None:
        """Write ``data``, which must not be empty, to those that are open."""
        _in_loop(streams, lambda stream: stream._write(data))

    @staticmethod
    def end_all(streams: Sequence[Stream]) -> None:
        """End the answers. The client sees that they are whole."""
        _in_loop(streams, Stream._end)


def _in_loop(streams: Sequence[Stream], act: Callable[[Stream], None]) -> None:
    """Wake the loop once for all streams, which belong to one server. Each time costs a look at every connection."""

    def act_on_all() -> None:
        for stream in streams:
            act(stream)

    if streams:
        streams[0]._channel.server.trigger.pull_trigger(act_on_all)


class StreamableTask(WSGITask):  # type: ignore[misc]  # waitress has no types
    """waitress's task of a view, whose response can stay open."""

    _begin: Callable[[Stream], None] | None = None

    def get_environment(self) -> dict[str, Any]:
        environment: dict[str, Any] = super().get_environment()
        environment[STREAM] = self._keep
        return environment

    def _keep(self, begin: Callable[[Stream], None]) -> None:
        self._begin = begin

    def finish(self) -> None:
        """Leave the answer open if its view wants that. A client that has asked for something else already gets the view's part only."""
        if self._begin is None or self.content_length is not None or not self.channel.may_stream():
            super().finish()
            return
        self.close_on_finish = False
        self.channel.stream = Stream(self.channel, is_chunked=self.chunked_response)
        self._begin(self.channel.stream)
