"""One connection, with the bounds that aiohttp does not have (3.14).

aiohttp gives a head no deadline of its own: one that comes byte by byte is ended by `keepalive_timeout` alone. And when
the chunks of a body break, it puts an error behind the request, whose handler goes on waiting for the body. And all who
wait for a connection to take more wait on one future, for as long as it likes: cancelling one of them cancels the
others, and who comes later.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from aiohttp import web

from bus.waiting import timeout
from edge.http.problems import unread_problem
from edge.http.turnstile import Turnstile
from edge.http.wire.masks import Masks
from edge.http.wire.sieve import Sieve

LEAST_BYTES_S: Final = 16 << 10
"""What a client takes of an answer in a second, at least."""


class Registry(Protocol):
    """Who counts connections, and ends those that take too long."""

    def made(self, connection: "Connection", peer: str) -> bool:
        """It was taken: whether it may stay."""
        ...

    def lost(self, connection: "Connection", peer: str) -> None:
        """It is gone."""
        ...

    def cut_off(self) -> None:
        """One ends because its client does not take its answer."""
        ...


class Connection(web.RequestHandler):
    """What `Front` is told requests came over."""

    __slots__ = (
        "_admitted",
        "_answered",
        "_awaits",
        "_masks",
        "_peer",
        "_placed",
        "_registry",
        "_writable",
        "_write_timeout_s",
        "broken",
        "busy",
        "since_s",
    )

    def __init__(
        self, server: web.Server, registry: Registry, turnstile: Turnstile, *, write_timeout_s: float, **settings: Any
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **settings)
        self._parser = cast("Any", Sieve(self._parser, self, turnstile))
        self._registry = registry
        self._admitted = False
        self._answered = False
        self._awaits = False
        self._masks: Masks | None = None
        self._peer = ""
        self._placed = False
        self._writable: asyncio.Event | None = None
        self._write_timeout_s = write_timeout_s
        self.busy = False
        """Whether a request is being answered."""
        self.since_s = 0.0
        """When a head began to come that is not whole (the loop's time); 0 while none does."""
        self.broken = False
        """Whether the open request's body can never become whole."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place if it has none yet, or say so and leave."""
        super().connection_made(transport)
        self.since_s = self._loop.time()
        if not self._placed and not self.take_place(transport):
            cast("asyncio.Transport", transport).write(_FULL)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        self.give_back()
        super().connection_lost(exc)
        self._wake()

    def take_place(self, transport: asyncio.BaseTransport) -> bool:
        """Count it: whether it may stay."""
        name = transport.get_extra_info("peername")
        self._peer = name[0] if isinstance(name, tuple) else ""
        self._placed = True
        return self._registry.made(self, self._peer)

    def give_back(self) -> None:
        """Count it no more; once is enough."""
        if self._placed:
            self._placed = False
            self._registry.lost(self, self._peer)

    def data_received(self, data: bytes) -> None:
        """Notice when a head begins, and when a body breaks."""
        super().data_received(data)
        if self._messages:
            self._awaits = True
        if self._answered:
            self._answered, self.since_s = False, 0.0
        elif self.busy:
            if self._messages:
                self._look_for_break()
        elif not self.since_s:
            self.since_s = self._loop.time()

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """From now on it is a WebSocket, and a stranger's until `know`."""
        self._masks = Masks(parser)
        super().set_parser(self._masks, data_received_cb)  # type: ignore[arg-type]  # it asks for no more than `Reader`

    def know(self) -> None:
        """Whose WebSocket it is was said: frames may be as large as the reader takes."""
        if self._masks is not None:
            self._masks.known = True

    def resume_reading(self, resume_parser: bool = True) -> None:  # aiohttp's signature
        """Reading goes on, if it was paused; aiohttp asks for it with every body, and would parse nothing once more."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def resume_writing(self) -> None:
        """The transport takes more."""
        super().resume_writing()
        self._wake()

    async def drained(self) -> None:
        """Returns when the transport takes more, or is gone."""
        while self._paused and self.transport is not None:
            if self._writable is None:
                self._writable = asyncio.Event()
            self._writable.clear()
            await self._writable.wait()

    async def _drain_helper(self) -> None:
        """aiohttp's wait for the transport to take more. Raises `ConnectionResetError` for who takes too little."""
        transport = self.transport
        if transport is None:
            return
        try:
            async with timeout(self._write_timeout_s + transport.get_write_buffer_size() / LEAST_BYTES_S):
                await self.drained()
        except TimeoutError:
            self._registry.cut_off()
            transport.abort()
            raise ConnectionResetError("the client does not take its answer") from None

    @property
    def idle(self) -> bool:
        """Whether all that came was answered, so that another answer can be sent at once."""
        return not (self._awaits or self._paused)

    def admit(self) -> None:
        """The next request was counted when it was read."""
        self._admitted = True

    def was_admitted(self) -> bool:
        """Whether the request that begins was counted; only the first to ask is told so."""
        admitted, self._admitted = self._admitted, False
        return admitted

    def turn_away(self, answer: bytes) -> None:
        """Answer a request of which no handler hears; the connection stays."""
        if self.transport is not None:
            self.transport.write(answer)
        self._answered = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout

    def begin(self) -> None:
        """A request's head is whole; it is being answered."""
        self.busy = True
        self.since_s = 0.0
        if self._messages:
            self._look_for_break()

    def end(self) -> None:
        """The request was answered, but for the sending."""
        self.busy = False

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of the answer."""
        sent = await super().finish_response(request, resp, start_time)
        self._awaits = bool(self._messages)
        return sent

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The problem for what could not be read as HTTP; the connection ends with it."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        response = unread_problem(status)
        response.force_close()
        return response

    def _wake(self) -> None:
        if self._writable is not None:
            self._writable.set()

    def _look_for_break(self) -> None:
        """While a body is not whole nothing can follow it but the parser's error."""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            self.broken = True
            self._messages.clear()
            request.content.feed_eof()


def connection_of(request: web.BaseRequest) -> Connection:
    """The connection that the request came over."""
    return cast("Connection", request.protocol)


_BODY = (
    b'{"type": "urn:aion:error:too_many_connections", "title": "Too many connections", "status": 503, '
    b'"detail": "the connections of this edge or of this address are used up: come back later", '
    b'"code": "too_many_connections", "retryable": true}'
)
_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nServer: aion\r\n"
    b"Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
)
_FULL = _HEAD % len(_BODY) + _BODY
