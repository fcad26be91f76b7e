"""One open WebSocket: whole frames in, and frames out only as fast as they are taken.

aiohttp's own ways are left aside where they do not bound what they do: its writes wait on a future that cannot be
cancelled safely, its heartbeat writes beside ours, its close waits for a client that reads nothing.
"""

import asyncio
import sys
from contextlib import suppress
from typing import Final

from aiohttp import ClientConnectionResetError, WSMsgType, web

from bus.waiting import timeout
from edge.http.wire.connection import connection_of
from edge.ws.endings import Ending, NotText

CLOSE_S: Final = 1.0
"""How long a close frame may take to go out, and its answer to come."""
_UNBOUNDED: Final = sys.maxsize
"""aiohttp is never to wait for the transport: `Connection.drained` is waited for instead."""


class SlowReader(Exception):
    """The client took nothing for too long."""


class Left(Exception):
    """The client closed the socket, broke the protocol, or is gone: there is nobody to talk to."""


class Socket:
    """Whoever writes waits for its turn until the transport takes more, so that no more than one frame is queued."""

    def __init__(
        self, request: web.BaseRequest, response: "web.WebSocketResponse[bool]", write_timeout_s: float
    ) -> None:
        self._connection = connection_of(request)
        self._response = response
        self._write_timeout_s = write_timeout_s
        self._pen = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        """When anything came last (the loop's time)."""
        self.ending: asyncio.Future[Ending] = self._loop.create_future()
        """How it shall end, once that is known."""

    def know(self) -> None:
        """Who is there was said: a frame may be as large as a body from now on."""
        self._connection.know()

    async def receive(self) -> bytes:
        """The next text frame, pings answered meanwhile. Raises `NotText`, `Left`, `SlowReader`."""
        while True:
            message = await self._response.receive()
            self.heard_s = self._loop.time()
            match message.type:
                case WSMsgType.TEXT:
                    return bytes(message.data)
                case WSMsgType.BINARY:
                    raise NotText("frames are JSON in text frames: a binary one came")
                case WSMsgType.PING:
                    await self._send(message.data, WSMsgType.PONG)
                case WSMsgType.PONG:
                    continue
                case _:
                    raise Left

    async def writable(self) -> None:
        """Returns when the client takes more. Raises `SlowReader`."""
        try:
            async with timeout(self._write_timeout_s):
                await self._connection.drained()
        except TimeoutError:
            raise SlowReader from None

    async def say(self, frame: bytes) -> None:
        """Hand over one frame, whole or not at all, in turn. Raises `SlowReader`, `Left`."""
        await self._send(frame, WSMsgType.TEXT)

    async def ping(self) -> None:
        """Ask whether it lives, unless something is on its way already."""
        if not self._connection.writing_paused:
            await self._send(b"", WSMsgType.PING)

    def end(self, ending: Ending) -> None:
        """Let it end so; the first word counts."""
        if not self.ending.done():
            self.ending.set_result(ending)

    async def close(self, ending: Ending) -> None:
        """Say goodbye, and cut it off when that takes too long."""
        with suppress(TimeoutError):
            async with timeout(2 * CLOSE_S):
                await self._connection.drained()
                await self._response.close(code=ending.code, message=ending.reason.encode())
        if not self._response.closed:
            self.cut()

    def cut(self) -> None:
        """End the connection now; what was not sent is lost."""
        transport = self._connection.transport
        if transport is not None:
            transport.abort()

    async def _send(self, data: bytes, kind: WSMsgType) -> None:
        async with self._pen:
            await self.writable()
            try:
                await self._response.send_frame(data, kind)  # never suspends: `writer_limit` is out of reach
            except ClientConnectionResetError:
                raise Left from None


def unprepared(protocol: str, max_frame_bytes: int) -> "web.WebSocketResponse[bool]":
    """The response to an upgrade: no compression (a bomb needs it), whole text as bytes, nothing done on its own."""
    return web.WebSocketResponse(
        timeout=CLOSE_S,
        autoping=False,
        protocols=(protocol,),
        compress=False,
        max_msg_size=max_frame_bytes + 1,  # aiohttp refuses a message of just that size
        writer_limit=_UNBOUNDED,
        decode_text=False,
    )
