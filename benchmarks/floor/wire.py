"""NATS on the wire: enough of the client protocol for a floor, and nothing that makes it safe to use elsewhere.

No reconnect, no TLS, no authentication. Everything written in one turn of the loop leaves in one send.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

OnMessage = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with subject, reply, headers and payload of each message."""

CONNECT = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "floor"}
TIMEOUT_S = 10.0


class Wire(asyncio.Protocol):
    """One connection; open it with `connect`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._scheduled = False
        self._transport: asyncio.WriteTransport | None = None
        self._subscribers: dict[bytes, OnMessage] = {}
        self._replies: dict[bytes, Callable[[bytes, bytes], None]] = {}
        self._inbox = b"_INBOX." + os.urandom(8).hex().encode()
        self._next_reply = 0
        self._pong = asyncio.Event()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the server went away; a floor does not come back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so
        self._write(b"CONNECT " + json.dumps(CONNECT).encode() + b"\r\n")
        self.subscribe(self._inbox + b".*", self._on_reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, size = 0, len(buffer)
        while at < size:
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            line = bytes(buffer[at:end])
            after = self._line(line, end + 2, size)
            if after < 0:
                break
            at = after
        del buffer[:at]

    def _line(self, line: bytes, at: int, size: int) -> int:
        """Where the next line begins; -1 when the payload has not all arrived."""
        if line.startswith((b"MSG ", b"HMSG ")):
            return self._message(line.split(), at, size)
        if line == b"PING":
            self._write(b"PONG\r\n")
        elif line == b"PONG":
            self._pong.set()
        elif line.startswith(b"-ERR"):
            raise RuntimeError(f"nats-server says {line.decode()}")
        return at

    def _message(self, words: list[bytes], at: int, size: int) -> int:
        total = int(words[-1])
        if at + total + 2 > size:
            return -1
        headed = words[0] == b"HMSG"
        head = int(words[-2]) if headed else 0
        reply = words[3] if len(words) == (6 if headed else 5) else b""
        data = self._buffer
        self._subscribers[words[2]](words[1], reply, bytes(data[at : at + head]), bytes(data[at + head : at + total]))
        return at + total + 2

    def _on_reply(self, subject: bytes, _reply: bytes, headers: bytes, payload: bytes) -> None:
        waiting = self._replies.pop(subject, None)
        if waiting is not None:
            waiting(headers, payload)

    def subscribe(self, subject: bytes, on_message: OnMessage) -> None:
        """Call `on_message` for each message, in order."""
        sid = b"%d" % (len(self._subscribers) + 1)
        self._subscribers[sid] = on_message
        self._write(b"SUB %b %b\r\n" % (subject, sid))

    def publish(self, subject: bytes, payload: bytes, *, reply: bytes = b"", headers: bytes = b"") -> None:
        """Send one message; `headers` are lines that each end in CRLF."""
        if headers:
            head = b"NATS/1.0\r\n" + headers + b"\r\n"
            line = b"HPUB %b %b %d %d\r\n" % (subject, reply, len(head), len(head) + len(payload))
            self._write(line + head + payload + b"\r\n")
        else:
            self._write(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload))

    def request(
        self, subject: bytes, payload: bytes, done: Callable[[bytes, bytes], None], *, headers: bytes = b""
    ) -> None:
        """Call `done(headers, payload)` with the one reply."""
        self._next_reply += 1
        reply = self._inbox + b".%d" % self._next_reply
        self._replies[reply] = done
        self.publish(subject, payload, reply=reply, headers=headers)

    async def api(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One JetStream API call; raises `RuntimeError` with the server's refusal."""
        answer: dict[str, Any] = json.loads(await self.ask(f"$JS.API.{verb}", body))
        if "error" in answer:
            raise RuntimeError(f"{verb}: {answer['error']}")
        return answer

    async def ask(self, subject: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The payload of the one reply; empty when nobody answers the subject."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        payload = b"" if body is None else json.dumps(body).encode()
        self.request(subject.encode(), payload, lambda _headers, answer: _set(future, answer))
        async with asyncio.timeout(TIMEOUT_S):
            return await future

    async def flush(self) -> None:
        """Wait until the server has seen all that was sent."""
        self._pong.clear()
        self._write(b"PING\r\n")
        async with asyncio.timeout(TIMEOUT_S):
            await self._pong.wait()

    def close(self) -> None:
        """Drop the connection; what was not flushed may be lost."""
        if self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()


def _set(future: asyncio.Future[bytes], value: bytes) -> None:
    if not future.done():
        future.set_result(value)


async def connect(url: str) -> Wire:
    """A connection that the server has answered; the caller closes it."""
    parts = urlsplit(url)
    async with asyncio.timeout(TIMEOUT_S):
        _, wire = await asyncio.get_running_loop().create_connection(Wire, parts.hostname or "", parts.port or 4222)
    await wire.flush()
    return wire
