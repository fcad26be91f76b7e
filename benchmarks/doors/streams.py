"""SSE events a second: one edge, many streams of one task that says much.

The benchmark is the task's engine: it advertises one, takes a task, and says the next delta as soon as every stream has
heard the one before, so that an edge finds nothing to join: each delta is an event of each stream.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Final, cast

from benchmarks.doors.spine import TENANT, accepted
from benchmarks.processes import cpu_us
from bus import subjects
from bus.port import Bus
from schemas.delta import Delta
from schemas.events import Ended, Outcome, Routed, following, read_task_event
from schemas.ids import EventId, TaskId, uuid7
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Usage

ENGINE: Final = "bench_stream"
INTENT: Final = "bench_stream"
TEXT: Final = "thirty characters of new text "
PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """Events are frames as clients got them. CPU of the edge, us."""

    streams: int
    events_per_s: float
    edge_cpu_us_per_event: float
    client_share: float


class Reader(asyncio.Protocol):
    """One stream; it counts frames, and finds the newest delta in what came."""

    def __init__(self, request: bytes, lease: int, heard: asyncio.Event) -> None:
        self._request = request
        self._mark = f"id: {lease}.".encode()
        self._heard = heard
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None
        self.events = 0
        self.newest = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = data.rfind(b"\n\n") + 1
        whole, self._rest = data[:at], data[at:]
        self.events += whole.count(b"\ndata: ")
        found = whole.rfind(self._mark)
        if found >= 0:
            begin = found + len(self._mark)
            self.newest = int(whole[begin : whole.index(b"\n", begin)])
            self._heard.set()

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()


async def measure_streams(
    bus: Bus, address: tuple[str, int], key: str, pid: int, *, streams: int, seconds: float
) -> StreamFigures:
    """Say deltas for `seconds`, to so many streams."""
    async with talking(bus) as (task_id, lease), AsyncExitStack() as stack:
        heard = asyncio.Event()
        host = f"{address[0]}:{address[1]}"
        head = f"GET /v1/stream/{task_id} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n"
        readers = []
        for _ in range(streams):
            _, reader = await asyncio.get_running_loop().create_connection(
                lambda: Reader(head.encode(), lease, heard), *address
            )
            stack.callback(reader.close)
            readers.append(reader)
        said = await _say(bus, task_id, lease, readers, heard, 0, seconds / 4)
        before, own, began = cpu_us({"edge": pid})["edge"], process_time(), perf_counter()
        events = sum(reader.events for reader in readers)
        await _say(bus, task_id, lease, readers, heard, said, seconds)
        lasted, own = perf_counter() - began, process_time() - own
        events = sum(reader.events for reader in readers) - events
        used = cpu_us({"edge": pid})["edge"] - before
    return StreamFigures(streams, events / lasted, used / events, own / lasted)


async def _say(
    bus: Bus, task_id: TaskId, lease: int, readers: list[Reader], heard: asyncio.Event, said: int, seconds: float
) -> int:
    """The number of the last delta, which every stream has. Raises `TimeoutError` when one falls silent."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        said += 1
        await bus.tokens.publish(TENANT, task_id, encode(Delta(lease=lease, number=said, text=TEXT)))
        async with asyncio.timeout(PATIENCE_S):
            while min(reader.newest for reader in readers) < said:
                heard.clear()
                await heard.wait()
    return said


@asynccontextmanager
async def talking(bus: Bus) -> AsyncIterator[tuple[TaskId, int]]:
    """A task that the router gave to this process, and the lease under which it may speak."""
    advert = EngineAdvert(engine=ENGINE, instance="bench", route="local", intents=(INTENT,), slots=4, free_slots=4)
    await bus.kv.put(subjects.ENGINES, f"{ENGINE}.bench", encode(advert))
    event = accepted(INTENT, {})
    try:
        await asyncio.sleep(0.2)  # the router hears of it
        await bus.log.append(event, after=0)
        routed, lease = await _routed(bus, event.task_id)
        yield event.task_id, lease
        now_ms = time.time_ns() // 1_000_000
        ended = Ended(
            **following(routed, EventId(uuid7(now_ms)), now_ms), outcome=Outcome.COMPLETED, intent=INTENT,
            engine=routed.decision, engine_name=ENGINE, result={}, usage=Usage(latency_ms=0),
        )  # fmt: skip
        await bus.log.append(ended, after=lease)
    finally:
        await bus.kv.delete(subjects.ENGINES, f"{ENGINE}.bench")


async def _routed(bus: Bus, task_id: TaskId) -> tuple[Routed, int]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            entry = await bus.log.last(TENANT, task_id)
            event = read_task_event(entry.data) if entry is not None else None
            if entry is not None and isinstance(event, Routed):
                return event, entry.sequence
            if isinstance(event, Ended):
                raise RuntimeError(f"the router refused the task: {event.error}")
            await asyncio.sleep(0.05)
