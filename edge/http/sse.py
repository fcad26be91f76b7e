"""The wire of server-sent events (WHATWG HTML section 9.2): heads, comments, and writes that have a deadline."""

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


def comment(text: str) -> bytes:
    """Something for proxies to see and clients to skip."""
    return f": {text}\n\n".encode()


def stream_headers(request: web.BaseRequest) -> dict[str, str]:
    """What the head of a stream says, to be added to."""
    headers = _HEADERS | {"X-Request-Id": request[REQUEST_ID]}
    return headers | allowed_headers(request[ORIGIN]) if ORIGIN in request else headers


class SlowReader(Exception):
    """The client took nothing for too long."""


class Writer:
    """Writes frames with a deadline each. What does not fit the socket is waited for, never queued."""

    def __init__(self, response: web.StreamResponse, timeout_s: float) -> None:
        self._response = response
        self._timeout_s = timeout_s

    async def write(self, data: bytes) -> None:
        """Raises `SlowReader`, or `ConnectionError` when the client is gone."""
        try:
            async with timeout(self._timeout_s):
                await self._response.write(data)
        except TimeoutError:
            raise SlowReader from None
