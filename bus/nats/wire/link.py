"""One TCP or TLS connection to one server: bytes in, bytes out, and when it ended."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import structlog

from bus.nats.wire.parser import OnMessage, Parser, ProtocolError

MAX_UNSENT_BYTES = 64 << 20
LAZY_S = 0.02
_GATHER = 32
"""Operations that wait for the end of a turn at most: past them the server begins while this process goes on."""
_HIGH_WATER_BYTES = 1 << 20


class Link(asyncio.Protocol):
    """What is written in one turn of the loop leaves in one send, or in handfuls. Once lost it stays lost."""

    def __init__(self, on_message: OnMessage) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._parser = Parser(on_message, self._on_control)
        self._out: list[bytes] = []
        self._scheduled = False
        self._later: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.info: asyncio.Future[dict[str, Any]] = loop.create_future()
        """The server's greeting, or `ConnectionResetError` when the link ends first; later ones call `on_info`."""
        self.on_info: Callable[[dict[str, Any]], None] = lambda _info: None
        self.lost: asyncio.Future[str] = loop.create_future()
        """Why the connection ended."""

    @property
    def congested(self) -> bool:
        """Whether more is written than the socket takes."""
        return not self._may_write.is_set()

    async def writable(self) -> None:
        """Returns when the socket takes more, or is lost."""
        await self._may_write.wait()

    def use(self, transport: asyncio.BaseTransport) -> None:
        """Write to `transport` from now on: the plain one, then the one over TLS."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def write(self, data: bytes) -> None:
        """Send `data` with everything else of this turn."""
        self._out.append(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._send)
        elif len(self._out) >= _GATHER:
            self._flush()

    def write_lazily(self, data: bytes) -> None:
        """Send `data` with the next write, or alone after `LAZY_S`: for what nobody waits for."""
        self._out.append(data)
        if not self._scheduled and self._later is None:
            self._later = self._loop.call_later(LAZY_S, self._send)

    def _send(self) -> None:
        self._scheduled = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._flush()

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if self._transport is None or self.lost.done() or not data:
            return
        self._transport.write(data)
        if self.congested and self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.abort(f"the server did not take {MAX_UNSENT_BYTES >> 20} MiB that wait to be sent")

    async def pong(self) -> None:
        """Send PING and return at its PONG: the server has then seen all that was written before.

        Raises `ConnectionResetError` when the link ends first.
        """
        answered: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(answered)
        self.write(b"PING\r\n")
        await answered

    def abort(self, why: str) -> None:
        """End the connection now."""
        if not self.lost.done():
            self.lost.set_result(why)
        if self._transport is not None:
            self._transport.abort()
        self._release()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.use(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self.lost.done():
            self.lost.set_result(str(exc) if exc else "the server closed the connection")
        self._release()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            self.abort(f"unreadable: {error}")

    def _on_control(self, verb: bytes, rest: bytes) -> None:
        verb = verb.upper()
        if verb == b"PING":
            self.write(b"PONG\r\n")
        elif verb == b"PONG":
            self._ponged()
        elif verb == b"INFO":
            self._informed(rest)
        elif verb == b"-ERR":
            self._refused(rest.decode(errors="replace").strip(" '"))
        elif verb != b"+OK":
            raise ProtocolError(f"unknown operation {verb[:40]!r}")

    def _ponged(self) -> None:
        if self._pongs:
            answered = self._pongs.popleft()
            if not answered.done():
                answered.set_result(None)

    def _informed(self, rest: bytes) -> None:
        try:
            info: dict[str, Any] = json.loads(rest)
        except ValueError as error:
            raise ProtocolError("INFO is not JSON") from error
        if self.info.done():
            self.on_info(info)
        else:
            self.info.set_result(info)

    def _refused(self, text: str) -> None:
        """-ERR: a permission concerns one operation, after anything else the server hangs up."""
        if text.lower().startswith("permissions violation"):
            structlog.get_logger("bus").error("bus_refused", error=text)
        else:
            self.abort(text)

    def _release(self) -> None:
        self._may_write.set()
        awaited: tuple[asyncio.Future[Any], ...] = (*self._pongs, self.info)
        for answer in awaited:
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection ended"))
        self._pongs.clear()
