"""The wire of server-sent events (WHATWG HTML section 9.2): heads, comments, and writes that have a deadline."""

from collections.abc import Awaitable
from typing import Final

from aiohttp import web

from bus.waiting import timeout
from edge.http.answer import REQUEST_ID, SERVER
from edge.http.cors import ORIGIN, allowed_headers

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "Server": SERVER,
}

HELD_BYTES: Final = 16 << 10
"""Of frames that go together."""


def comment(text: str) -> bytes:
    """Something for proxies to see and clients to skip."""
    return f": {text}\n\n".encode()


def stream_headers(request: web.BaseRequest) -> dict[str, str]:
    """What the head of a stream says, to be added to."""
    headers = _HEADERS | {"X-Request-Id": request[REQUEST_ID]}
    return headers | allowed_headers(request[ORIGIN]) if ORIGIN in request else headers


class EventStream(web.StreamResponse):
    """A response whose head goes out with its first frame, in one send."""

    _send_headers_immediately = False  # aiohttp's own responses set it so (3.14)


class SlowReader(Exception):
    """The client took nothing for too long."""


class Writer:
    """Writes frames with a deadline each. What does not fit the socket is waited for, never queued.

    A send costs more than all that is done to make a frame, so those that are known together go together: `add` them,
    and never wait for anything else before `write`, `flush` or `finish` was called.
    """

    def __init__(self, response: web.StreamResponse, timeout_s: float) -> None:
        self._response = response
        self._timeout_s = timeout_s
        self._held = b""

    @property
    def holds(self) -> bool:
        """Whether something was added that was not sent."""
        return bool(self._held)

    async def add(self, data: bytes) -> None:
        """Let it go out with what comes next, or now when that is much. Raises what `write` raises."""
        self._held += data
        if len(self._held) > HELD_BYTES:
            await self.flush()

    async def write(self, data: bytes) -> None:
        """Send it behind what was added. Raises `SlowReader`, or `ConnectionError` when the client is gone."""
        self._held += data
        await self.flush()

    async def flush(self) -> None:
        """Send what was added. Raises what `write` raises."""
        held, self._held = self._held, b""
        if held:
            await self._in_time(self._response.write(held))

    async def finish(self) -> None:
        """Send what was added and the end of the response. Raises what `write` raises."""
        held, self._held = self._held, b""
        await self._in_time(self._response.write_eof(held))

    async def _in_time(self, sending: Awaitable[None]) -> None:
        try:
            async with timeout(self._timeout_s):
                await sending
        except TimeoutError:
            raise SlowReader from None
