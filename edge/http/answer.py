"""The response for what goes well, and for what is refused, made as one piece.

`web.Response` and its headers cost as much as the rest of aiohttp's part in a request (docs/performance.md); every
answer under load has the same head, so it is written out here.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

REQUEST_ID: Final = web.RequestKey("request_id", str)
SERVER: Final = "aion"


class Answer(web.StreamResponse):
    """JSON, with its head in the same send. It takes no `headers`.

    `fields` are further lines of the head, each with its CRLF. Nothing of a client's may be in them unchecked.
    """

    def __init__(self, body: bytes, *, status: int = 200, fields: str = "", kind: str = "application/json") -> None:
        super().__init__(status=status)
        self._json = body
        self._kind = kind
        self._fields = fields
        self._lasts = True

    @property
    def kind(self) -> str:
        """The content type."""
        return self._kind

    @property
    def body(self) -> bytes:
        """What it says."""
        return self._json

    def add_fields(self, fields: str) -> None:
        """Further lines of the head, as in `__init__`."""
        self._fields += fields

    @property
    def keep_alive(self) -> bool:
        """Whether the connection outlives this answer; final once it was sent."""
        return self._lasts

    def force_close(self) -> None:
        """Let the connection end with this answer."""
        self._lasts = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send head and body. Raises `ConnectionError` when the client is gone."""
        self._lasts = self._lasts and request.keep_alive
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\n"
            f"Content-Type: {self._kind}\r\nContent-Length: {len(self._json)}\r\n"
            f"Date: {_http_date(int(time.time()))}\r\nServer: {SERVER}\r\nCache-Control: no-store\r\n"
            f"X-Request-Id: {request[REQUEST_ID]}\r\n{self._fields}{self._connection(request)}\r\n"
        )
        body = self._json if request.method != "HEAD" else b""
        await request.writer.write_eof(head.encode("ascii") + body)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""

    def _connection(self, request: web.BaseRequest) -> str:
        """What must be said of the connection (RFC 9112 section 9.3): that it ends, or to HTTP/1.0 that it does not."""
        if not self._lasts:
            return "Connection: close\r\n"
        return "" if request.version >= HttpVersion11 else "Connection: keep-alive\r\n"


@lru_cache(maxsize=2)
def _http_date(unix_s: int) -> str:
    """RFC 9110 section 5.6.7; a second's answers share it."""
    return formatdate(unix_s, usegmt=True)
