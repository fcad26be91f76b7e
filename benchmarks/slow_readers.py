"""`python -m benchmarks.slow_readers [--kind ws|sse] [--slow 500] [--healthy 50] [--seconds 30]`

Readers that take one byte a second, beside healthy ones, on one edge over a real NATS: what each costs the edge in
memory, what the healthy ones notice, and whether every slow one resumes without gap or repeat. The text is said by this
process; so latencies are from the call that says a piece of it to its arrival at a reader.
"""

import argparse
import asyncio
import random
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import uvloop

from benchmarks.processes import Children
from benchmarks.report import machine
from benchmarks.servers import servers
from benchmarks.stream_wires import Reading, SseReading, WsReading
from benchmarks.system.start import HOST, free_port
from bus import BusSettings, open_bus, subjects
from bus.port import Bus
from edge.tasks.acceptance import Times, accepted_event
from schemas.delta import Delta
from schemas.events import Ended, Outcome, Routed, following
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.result import Engine, Usage
from schemas.task import TaskRequest

Kind = Literal["ws", "sse"]
TENANT = TenantId("bench")
LOCAL = Engine(route="local", chosen_by="ai-router", reason="it speaks itself")
TRACE = f"00-{'1' * 32}-{'2' * 16}-00"
BEAT_S = 0.1
"""Between two pieces that healthy readers are told."""
READERS_OF_A_TASK = 50
SLOW_TEXT = 15_000
"""Characters that each beat adds to the tasks of slow readers: they fall behind at once."""
KERNEL_BYTES = 4096
"""What the kernel may hold for a slow reader on its side."""
SEGMENT_BYTES = 1400
"""As over Ethernet: with the 64 KiB of loopback the kernel would hold megabytes on the edge's side."""
READY_S = 60.0
RESUME_S = 300.0
TASTE_BYTES = 100_000
"""What a slow reader takes at last before it drops its connection and resumes."""


@dataclass(frozen=True)
class Plan:
    """How many readers of each kind, and for how long each phase lasts."""

    slow: int = 500
    healthy: int = 50
    seconds: float = 30.0
    beats: int = 30
    """Pieces that slow readers are told: they fill every buffer on the way by far."""
    beat_s: float = 0.5
    """Between two of them; what everybody is sent beside the bytes that are not taken is no part of the question."""


@dataclass(slots=True)
class Found:
    """What a run measured. Latencies in milliseconds, memory in bytes of the edge's RSS for each slow reader."""

    kind: Kind
    slow: int
    before_ms: list[float] = field(default_factory=list)
    beside_ms: list[float] = field(default_factory=list)
    memory_bytes: float = 0.0
    cut_off: int = 0
    resumed: int = 0


class Said:
    """A task that says something with every beat, and when it said what."""

    def __init__(self, bus: Bus, size: int) -> None:
        self._bus = bus
        self._size = size
        self.task_id = TaskId(uuid7(_now_ms()))
        self.text = ""
        self.at_s: dict[int, float] = {}
        self._lease = 0
        self._number = 0

    async def begin(self) -> None:
        """It is accepted and routed."""
        times = Times(_now_ms(), 1000.0)
        event = accepted_event(TaskRequest(intent="speak"), TENANT, self.task_id, _event_id(), TRACE, times)
        fields = following(event, _event_id(), _now_ms())
        self._routed = Routed(**fields, brief=event.brief, params={}, engine="bench", decision=LOCAL)
        self._lease = await self._bus.log.append(self._routed, after=await self._bus.log.append(event, after=0))

    async def say(self) -> None:
        """One piece more; its own length from the beginning is what readers know it by."""
        self._number += 1
        piece = f"{self._number}:".ljust(self._size, "-")
        self.text += piece
        self.at_s[len(self.text)] = time.monotonic()
        delta = Delta(lease=self._lease, number=self._number, text=piece)
        await self._bus.tokens.publish(TENANT, self.task_id, encode(delta))

    async def end(self) -> None:
        """That was all."""
        usage = Usage(latency_ms=1)
        fields = following(self._routed, _event_id(), _now_ms())
        ended = Ended(**fields, outcome=Outcome.COMPLETED, intent="speak", engine=LOCAL, result={}, usage=usage)
        await self._bus.log.append(ended, after=self._lease)


class Reader:
    """One connection to a task's stream, and after it others that resume."""

    def __init__(self, kind: Kind, port: int, key: str, said: Said) -> None:
        self._made = WsReading if kind == "ws" else SseReading
        self._port, self._key = port, key
        self.said = said
        self.reading: Reading | None = None
        self._socket: socket.socket | None = None
        self.latencies_ms: list[float] = []
        self.cut_off = False
        """Whether the edge ended the first connection."""

    @property
    def text(self) -> str:
        """What was read so far."""
        return self.reading.text if self.reading is not None else ""

    async def connect(self, kernel_bytes: int | None = None) -> None:
        """Ask for the stream, behind what was read so far."""
        loop = asyncio.get_running_loop()
        self.reading = self._made(self._key, self.said.task_id, self.reading)
        self._socket = socket.socket()
        self._socket.setblocking(False)
        if kernel_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kernel_bytes)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        await loop.sock_connect(self._socket, (HOST, self._port))
        await loop.sock_sendall(self._socket, self.reading.request())

    async def take(self, most: int) -> int:
        """Read once; 0 when the connection has ended."""
        if self._socket is None or self.reading is None:
            return 0
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, most)
        except ConnectionError:
            data = b""
        self.reading.feed(data)
        if not data:
            self.close()
        elif self.reading.answers:
            await self._answer(bytes(self.reading.answers))
        return len(data)

    async def _answer(self, data: bytes) -> None:
        assert self._socket is not None
        assert self.reading is not None
        self.reading.answers.clear()
        with suppress(ConnectionError):  # the next read says so too
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def follow(self) -> None:
        """Read as it comes, and note how late it comes."""
        seen = len(self.text)
        while self.reading is not None and not self.reading.done and await self.take(1 << 16):
            if len(self.text) != seen:
                seen = len(self.text)
                self.latencies_ms.append((time.monotonic() - self.said.at_s[seen]) * 1000)
        self.close()

    async def crawl(self, seconds: float) -> None:
        """One byte a second, for so long."""
        end_s = time.monotonic() + seconds
        await asyncio.sleep(random.random())
        while time.monotonic() < end_s and await self.take(1):  # noqa: ASYNC110  # its own pace
            await asyncio.sleep(1.0)

    async def resume(self) -> bool:
        """Take a little of what is there, drop the connection, resume, and say whether nothing is missing or twice."""
        taken = 0
        while taken < TASTE_BYTES and (found := await self.take(4096)):
            taken += found
        self.cut_off = self._socket is None
        self.close()
        await self.connect()
        while len(self.text) < len(self.said.text) and await self.take(1 << 16):
            pass
        self.close()
        return self.text == self.said.text

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def measure(nats_url: str, kind: Kind, plan: Plan, logs: Path, **settings: str) -> Found:
    """One run against a fresh edge process. Raises `RuntimeError` when it ends by itself."""
    found = Found(kind, plan.slow)
    async with open_bus(BusSettings(url=nats_url)) as bus:
        key = await _key(bus)
        quick = [Said(bus, 8) for _ in range(_tasks(plan.healthy))]
        heavy = [Said(bus, SLOW_TEXT) for _ in range(_tasks(plan.slow))]
        for said in quick + heavy:
            await said.begin()
        async with _edge(nats_url, logs, settings) as (port, pid), asyncio.TaskGroup() as group:
            healthy = [Reader(kind, port, key, quick[number % len(quick)]) for number in range(plan.healthy)]
            slow = [Reader(kind, port, key, heavy[number % len(heavy)]) for number in range(plan.slow)]
            beating = group.create_task(_beat(quick))
            for reader in healthy:
                await reader.connect()
                group.create_task(reader.follow())
            await asyncio.sleep(1.0)
            found.before_ms = await _during(healthy, plan.seconds)
            resident = _rss_bytes(pid)
            for reader in slow:
                await reader.connect(KERNEL_BYTES)
            crawling = [group.create_task(reader.crawl(plan.seconds)) for reader in slow]
            flooding = group.create_task(_beat(heavy, plan.beats, plan.beat_s))
            most = group.create_task(_most_rss_bytes(pid, plan.seconds))
            found.beside_ms = await _during(healthy, plan.seconds)
            found.memory_bytes = max(0, await most - resident) / plan.slow
            await asyncio.wait([flooding, *crawling])
            async with asyncio.timeout(RESUME_S):
                for reader in slow:
                    found.resumed += await reader.resume()
            found.cut_off = sum(reader.cut_off for reader in slow)
            beating.cancel()
            await asyncio.wait([beating])
            for said in quick:
                await said.end()
    return found


def text(plan: Plan, found: Found) -> str:
    """Figures for a person."""
    rows = [f"{found.kind}: {plan.slow} readers of one byte a second beside {plan.healthy}, {plan.seconds:g} s each"]
    for label, latencies in (("alone", found.before_ms), ("beside the slow", found.beside_ms)):
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        rows.append(f"  healthy {label:16} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {len(latencies)} pieces")
    rows.append(f"  memory of the edge for each slow one   {found.memory_bytes / 1024:.0f} KiB at most")
    rows.append(f"  cut off by the edge {found.cut_off}, resumed without gap or repeat {found.resumed} of {found.slow}")
    return "\n".join(rows)


def percentile(values: Sequence[float], share: float) -> float:
    """Of unordered values, the smallest that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _tasks(readers: int) -> int:
    return -(-readers // READERS_OF_A_TASK)


async def _beat(said: Sequence[Said], beats: int | None = None, every_s: float = BEAT_S) -> None:
    while beats is None or beats > 0:
        beats = beats - 1 if beats is not None else None
        for one in said:  # not all at once: 500 readers that are told the same moment would be a burst, slow or not
            await one.say()
            await asyncio.sleep(every_s / len(said))


async def _during(readers: Sequence[Reader], seconds: float) -> list[float]:
    """The latencies of pieces that came meanwhile."""
    for reader in readers:
        reader.latencies_ms.clear()
    await asyncio.sleep(seconds)
    return [latency for reader in readers for latency in reader.latencies_ms]


async def _most_rss_bytes(pid: int, seconds: float) -> int:
    end_s, most = time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        most = max(most, _rss_bytes(pid))
        await asyncio.sleep(0.1)
    return most


def _rss_bytes(pid: int) -> int:
    fields = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in fields if line.startswith("VmRSS"))


async def _key(bus: Bus) -> str:
    key, record = mint(TENANT, _now_ms(), random.randbytes(RANDOM_BYTES))
    await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
    return key


@asynccontextmanager
async def _edge(nats_url: str, logs: Path, settings: dict[str, str]) -> AsyncIterator[tuple[int, int]]:
    """The port and the pid of an edge, once it listens."""
    port = free_port()
    variables = {
        "AION_NATS__URL": nats_url,
        "AION_EDGE__PORT": str(port),
        "AION_RUNTIME__LOG_LEVEL": "error",
    } | settings
    with Children(logs, variables) as children:
        children.start("edge", (sys.executable, "-m", "actors", "run", "edge"))
        async with asyncio.timeout(READY_S):
            while not await _listens(port):
                children.check()
                await asyncio.sleep(0.1)
        yield port, children.pids["edge"]
        children.check()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _event_id() -> EventId:
    return EventId(uuid7(_now_ms()))


async def main(kinds: Sequence[Kind], plan: Plan) -> None:
    """Measure and print."""
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="aion-slow-") as folder:
            async with servers(Path(folder) / "servers", "page-cache", nats_only=True) as infos:
                found = await measure(infos["nats"].url, kind, plan, Path(folder) / "logs")
        print(text(plan, found), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_readers", description=__doc__)
    parser.add_argument("--kind", choices=("ws", "sse"), help="one wire; both without")
    parser.add_argument("--slow", type=int, default=Plan.slow)
    parser.add_argument("--healthy", type=int, default=Plan.healthy)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="with and without the slow ones, each")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        chosen: Sequence[Kind] = (options.kind,) if options.kind else ("ws", "sse")
        runner.run(main(chosen, Plan(options.slow, options.healthy, options.seconds)))
