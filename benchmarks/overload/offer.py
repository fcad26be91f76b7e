"""Tasks offered to an edge over kept connections, at a fixed rate or so many open, and what became of each."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, NamedTuple, cast

from benchmarks.system.http import prepare
from benchmarks.workload import body

CONNECT_TIMEOUT_S: Final = 10.0
LEFTOVERS_S: Final = 60.0
TICK_S: Final = 0.001
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")
_RETRY: Final = re.compile(rb"\r\nRetry-After: ([0-9]+)\r\n")
WELL: Final = 200


class Answer(NamedTuple):
    """Of one task: when it was due, how long it took from then (seconds), and its HTTP status; 0: none came."""

    due_s: float
    took_s: float
    status: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Found:
    """All answers of one loop, in the order they came."""

    begun_s: float
    seconds: float
    answers: Sequence[Answer]

    def goodput(self, skip_s: float = 1.0) -> float:
        """How many a second ended well while the loop went on, past its first `skip_s`."""
        ended_s = [one.due_s + one.took_s - self.begun_s for one in self.answers if one.status == WELL]
        return sum(skip_s < at_s <= self.seconds for at_s in ended_s) / (self.seconds - skip_s)

    def of(self, *statuses: int) -> list[Answer]:
        """Those with one of these statuses."""
        return [one for one in self.answers if one.status in statuses]

    @property
    def statuses(self) -> dict[int, int]:
        """How many had which."""
        return dict(Counter(one.status for one in self.answers))


def percentile_ms(answers: Sequence[Answer], share: float) -> float:
    """The wait that `share` of them did not exceed; NaN of none."""
    waits = sorted(one.took_s for one in answers)
    return waits[min(len(waits) - 1, int(share * len(waits)))] * 1000 if waits else float("nan")


class Offer:
    """So many connections to one edge. What finds none free waits here, and its wait counts."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host, self._port = host, port
        self.request = prepare(host, port, key, body())
        self.idle: list[_Connection] = []
        self.line: deque[float] = deque()
        self.answers: list[Answer] = []
        self.open = 0
        self.again = False
        """Whether a connection that is free sends the next task at once."""
        self._all: list[_Connection] = []

    async def connect(self, count: int) -> None:
        """Open as many connections."""
        loop = asyncio.get_running_loop()
        for _ in range(count):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
            self._all.append(connection)
            self.idle.append(connection)

    async def at_rate(self, rate: float, seconds: float) -> Found:
        """Each at its time, within a millisecond or two, whatever becomes of those before."""
        first, begun, sent, total = len(self.answers), perf_counter(), 0, round(rate * seconds)
        while sent < total:
            due = min(total, int((perf_counter() - begun) * rate) + 1)
            for number in range(sent, due):
                self._send(begun + number / rate)
            sent = due
            await asyncio.sleep(TICK_S)
        await self._leftovers()
        return Found(begun, seconds, self.answers[first:])

    async def with_open(self, count: int, seconds: float) -> Found:
        """So many open all the time."""
        first, begun = len(self.answers), perf_counter()
        self.again = True
        for _ in range(count):
            self._send(perf_counter())
        await asyncio.sleep(seconds)
        self.again = False
        await self._leftovers()
        return Found(begun, seconds, self.answers[first:])

    def close(self) -> None:
        """Drop all connections."""
        for connection in self._all:
            connection.close()

    def _send(self, due_s: float) -> None:
        self.open += 1
        if self.idle:
            self.idle.pop().send(due_s)
        else:
            self.line.append(due_s)

    async def _leftovers(self) -> None:
        async with asyncio.timeout(LEFTOVERS_S):
            while self.open:  # noqa: ASYNC110  # thousands a second would set an event for each
                await asyncio.sleep(0.01)


class _Connection(asyncio.Protocol):
    """At most one task open."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._due_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, due_s: float) -> None:
        """The next task."""
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(self._offer.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        if len(self._buffer) < head + 4 + (int(length[1]) if length else 0):
            return
        retry = _RETRY.search(self._buffer, 0, head + 2)
        self._end(int(self._buffer[9:12]), int(retry[1]) if retry else 0)
        self._buffer = b""
        offer = self._offer
        if offer.line:
            self.send(offer.line.popleft())
        elif offer.again:
            offer.open += 1
            self.send(perf_counter())
        else:
            offer.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due_s is not None:
            self._end(0, 0)
        if self in self._offer.idle:
            self._offer.idle.remove(self)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.close()

    def _end(self, status: int, retry_after_s: int) -> None:
        assert self._due_s is not None
        self._offer.answers.append(Answer(self._due_s, perf_counter() - self._due_s, status, retry_after_s))
        self._offer.open -= 1
        self._due_s = None
