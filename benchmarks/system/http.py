"""HTTP/1.1 on the wire: keep-alive connections that post one prepared request again and again.

It shares the cores with what it measures, so it builds nothing per request and parses as little as it must.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from benchmarks.load import Done

CONNECT_TIMEOUT_S = 10.0
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"

Judge: TypeAlias = Callable[[bytes], bool | bytes]
"""What a whole answer means: that the task ended well or not, or the request that comes next on the connection."""


def prepare(host: str, port: int, key: str, body: bytes, path: str = "/v1/tasks", more: str = "") -> bytes:
    """The bytes of one `POST`; without `more` fields of the head, one of a task that waits for its result."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def is_result(answer: bytes) -> bool:
    """Whether it is a canonical result that ended well."""
    return answer.startswith(b"HTTP/1.1 200 ") and b'"status":"OK"' in answer


class Connection(asyncio.Protocol):
    """One connection of a `Pool`, with at most one request open."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._done: Done | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes, done: Done) -> None:
        """Send it and all that follows from its answer; `done` is told whether it ended well."""
        self._done = done
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not _is_whole(self._buffer):
            return
        answer, self._buffer = self._buffer, b""
        meant = self._pool.judge(answer)
        if isinstance(meant, bytes):
            assert self._transport is not None
            self._transport.write(meant)
        else:
            self._finish(answer, meant)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self._done is not None:
            self._finish(b"the connection was closed", False)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.close()

    def _finish(self, answer: bytes, well: bool) -> None:
        done, self._done = self._done, None
        if not well:
            self._pool.failures.append(answer[:600])
        self._pool.give_back(self)
        if done is not None:
            done(well)


class Pool:
    """Open connections; its `send` is the `Send` of the load loops. What finds none free waits in line.

    An edge closes a connection that shows no request in time: `fill` before each loop, and `check` after it.
    """

    def __init__(
        self, host: str, port: int, request: bytes, judge: Judge = is_result, tls: ssl.SSLContext | None = None
    ) -> None:
        self._host = host
        self._port = port
        self._request = request
        self._tls = tls
        self.judge = judge
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._line: deque[Done] = deque()
        self.failures: deque[bytes] = deque(maxlen=4)
        """The newest answers that were not a result."""

    async def fill(self, count: int) -> None:
        """Open as many connections as are missing to `count`, before anything is measured."""
        loop = asyncio.get_running_loop()
        while len(self._all) < count:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(self), self._host, self._port, ssl=self._tls
                )
            self._all.add(connection)
            self._idle.append(connection)

    def check(self, count: int) -> None:
        """Raise `RuntimeError` when fewer than `count` are left: then fewer tasks were open than was meant."""
        if len(self._all) < count:
            raise RuntimeError(f"the edge closed connections: {len(self._all)} of {count} are left")

    def send(self, done: Done) -> None:
        """Post one task."""
        if self._idle:
            self._idle.pop().send(self._request, done)
        else:
            self._line.append(done)

    def give_back(self, connection: Connection) -> None:
        """The connection is free; who waited longest takes it."""
        if connection not in self._all:
            return
        if self._line:
            connection.send(self._request, self._line.popleft())
        else:
            self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Drop all connections."""
        for connection in tuple(self._all):
            connection.close()


def _is_whole(answer: bytes) -> bool:
    """Whether all of it came; of chunked ones the end of the last chunk is looked for and nothing else."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    if b"Transfer-Encoding: chunked" in answer[:head]:
        return answer.endswith(LAST_CHUNK)
    return len(answer) >= head + 4 + _length(answer[:head])


def _length(head: bytes) -> int:
    at = head.find(b"Content-Length: ")
    if at < 0:
        return 0
    end = head.find(b"\r\n", at)
    return int(head[at + 16 : end if end > 0 else len(head)])
