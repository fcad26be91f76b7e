"""A WebSocket on the wire: prepared `submit` frames over a few sockets, several tasks open on each (RFC 6455).

Masked with a key of zeros, so that a frame is made once and only its id changes.
"""

import asyncio
import base64
import json
import os
import struct
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

from benchmarks.load import Done

CONNECT_TIMEOUT_S: Final = 10.0
TASKS_A_SOCKET: Final = 16
"""Half of what an edge lets one socket have open."""
_ID: Final = "00000000"
_TEXT, _PING, _PONG = 0x1, 0x9, 0xA


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a client."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    else:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)  # nothing here is over 64 KiB
    return head + bytes(4) + payload


class Connection(asyncio.Protocol):
    """One socket of `Submissions`."""

    def __init__(self, submissions: "Submissions") -> None:
        self._submissions = submissions
        self._buffer = b""
        self._number = 0
        self._open: dict[bytes, Done] = {}
        self._transport: asyncio.WriteTransport | None = None
        self.welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the edge has greeted; `ConnectionError` when it did not."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._submissions.upgrade)

    def connection_lost(self, exc: Exception | None) -> None:
        self._submissions.forget(self)
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError(f"no socket: {self._buffer[:200]!r}"))
        for done in self._open.values():
            done(False)

    def send(self, done: Done) -> None:
        """Submit one task."""
        self._number += 1
        name = b"%08x" % self._number
        self._open[name] = done
        before, behind = self._submissions.parts
        self._write(before + name + behind)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self.welcome.done():
            at = buffer.find(b"\r\n\r\n")
            if at < 0 or not buffer.startswith(b"HTTP/1.1 101 "):
                self._buffer = buffer
                return
            buffer = buffer[at + 4 :]
            self.welcome.set_result(None)
        self._buffer = self._frames(buffer)

    def close(self) -> None:
        """Drop the socket."""
        if self._transport is not None:
            self._transport.close()

    def _frames(self, buffer: bytes) -> bytes:
        """Take every whole frame; what is left."""
        at, end = 0, len(buffer)
        while end - at >= 2:
            begin, size = at + 2, buffer[at + 1]
            if size >= 126:
                begin += 2 if size == 126 else 8
                if end < begin:
                    break
                size = int.from_bytes(buffer[at + 2 : begin], "big")
            if end < begin + size:
                break
            self._take(buffer[at] & 15, buffer[begin : begin + size])
            at = begin + size
        return buffer[at:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self._write(frame(_PONG, payload))
            return
        at = payload.find(b'"id":"') + 6
        done = self._open.pop(payload[at : at + len(_ID)], None)
        if done is not None:
            well = b'"type":"result"' in payload and b'"status":"OK"' in payload
            if not well:
                self._submissions.failures.append(payload[:600])
            done(well)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


class Submissions:
    """Submits one prepared task again and again, which waits for its result; its `send` is that of the load loops."""

    def __init__(self, host: str, port: int, credential: str, task: Mapping[str, Any]) -> None:
        self._address = host, port
        self._open: deque[Connection] = deque()
        key = base64.b64encode(os.urandom(16)).decode()
        self.upgrade = (
            f"GET /v1/ws HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {credential}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        said = json.dumps({"type": "submit", "id": _ID, "task": task, "wait_s": 30})
        before, behind = frame(_TEXT, said.encode()).split(_ID.encode())
        self.parts = before, behind
        self.failures: deque[bytes] = deque(maxlen=4)
        """The newest answers that were not a result."""

    async def fill(self, count: int) -> None:
        """Open as many sockets as so many open tasks take. Raises `ConnectionError`, `TimeoutError`."""
        loop = asyncio.get_running_loop()
        while len(self._open) * TASKS_A_SOCKET < count:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: Connection(self), *self._address)
                await connection.welcome
            self._open.append(connection)

    def send(self, done: Done) -> None:
        """Submit one task, on each socket in turn."""
        if not self._open:
            done(False)
            return
        self._open.rotate(1)
        self._open[0].send(done)

    def forget(self, connection: Connection) -> None:
        """The socket is gone."""
        if connection in self._open:
            self._open.remove(connection)

    def close(self) -> None:
        """Drop all sockets."""
        for connection in tuple(self._open):
            connection.close()
