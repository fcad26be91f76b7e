"""gRPC on the wire: prepared unary calls over a few HTTP/2 connections (RFC 9113, gRPC over HTTP/2).

gRPC's own client in Python costs more than the door that is measured, so the frames of a call are made once and only
its stream's number changes. Without TLS, without flow control of what is sent: so few bytes are open that no window
fills.
"""

import asyncio
import struct
from collections import deque
from typing import Final, cast

from benchmarks.load import Done

CONNECT_TIMEOUT_S: Final = 10.0
CALLS_A_CONNECTION: Final = 32
_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WELL: Final = b"\x0bgrpc-status\x010"
"""`grpc-status: 0` as a literal: `SETTINGS_HEADER_TABLE_SIZE` 0 leaves the server no other way to write it."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113 section 4.1."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    """RFC 7541 section 5.2, not Huffman coded."""
    data = value.encode()
    if len(data) > 126:
        raise ValueError(f"{len(data)} bytes: only lengths that fit one byte are written here")
    return bytes((len(data),)) + data


class Call:
    """A unary call as bytes, but for its stream's number."""

    def __init__(self, authority: str, method: str, message: bytes, metadata: dict[str, str]) -> None:
        self.method = method
        fields = {"content-type": "application/grpc", "te": "trailers", **metadata}
        named = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
        head = b"\x83\x86\x04" + _text(method) + b"\x01" + _text(authority) + named  # POST, http, path, authority
        data = b"\x00" + struct.pack(">I", len(message)) + message
        self._parts = [frame(_HEADERS, _END_HEADERS, 0, head), frame(_DATA, _END_STREAM, 0, data)]

    def on(self, stream: int) -> bytes:
        """Its frames."""
        number = struct.pack(">I", stream)
        return b"".join(part[:5] + number + part[9:] for part in self._parts)


class Connection(asyncio.Protocol):
    """One connection of `Calls`."""

    def __init__(self, calls: "Calls") -> None:
        self._calls = calls
        self._buffer = b""
        self._stream = -1
        self._open: dict[int, Done] = {}
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _WINDOW)  # no dynamic table, no push, all the window
        self._write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(_SETTINGS, 0, 0, settings)
            + frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - _DEFAULT_WINDOW))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        self._calls.forget(self)
        for done in self._open.values():
            done(False)

    def send(self, done: Done) -> None:
        """Begin one call."""
        self._stream += 2
        self._open[self._stream] = done
        self._write(self._calls.call.on(self._stream))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        while end - at >= 9:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if end - at < 9 + size:
                break
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._frame(buffer[at + 3], buffer[at + 4], stream, buffer[at + 9 : at + 9 + size])
            at += 9 + size
        self._buffer = buffer[at:]

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.close()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS and flags & _END_STREAM:
            self._end(stream, _WELL in payload, payload)
        elif kind == _RST_STREAM:
            self._end(stream, False, payload)
        elif kind == _DATA:
            if self._calls.wanted not in payload:
                self._end(stream, False, payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._write(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(frame(_PING, _ACK, 0, payload))

    def _end(self, stream: int, well: bool, payload: bytes) -> None:
        done = self._open.pop(stream, None)
        if done is None:
            return
        if not well:
            self._calls.failures.append(payload[:600])
        done(well)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


class Calls:
    """Sends one prepared call again and again; its `send` is the `Send` of the load loops.

    A call is well when its status is 0 and `wanted` is in its answer.
    """

    def __init__(self, host: str, port: int, call: Call, wanted: bytes = b"") -> None:
        self._address = host, port
        self._open: deque[Connection] = deque()
        self.call = call
        self.wanted = wanted
        self.failures: deque[bytes] = deque(maxlen=4)
        """The newest answers that were not well."""

    async def fill(self, count: int) -> None:
        """Open as many connections as so many open calls take."""
        loop = asyncio.get_running_loop()
        while len(self._open) * CALLS_A_CONNECTION < count:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: Connection(self), *self._address)
            self._open.append(connection)

    def send(self, done: Done) -> None:
        """Begin one call, on each connection in turn."""
        if not self._open:
            done(False)
            return
        self._open.rotate(1)
        self._open[0].send(done)

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        if connection in self._open:
            self._open.remove(connection)

    def close(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._open):
            connection.close()
