"""The log recreated, truncated, restored or purged under real projections: each halts before its first wrong write."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from natsd import Natsd
from story import NOW_MS, Story

from actors.runtime import Context
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bridges.bridge import Bridge
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.settings import KafkaSettings
from bridges.ledger.actor import Ledger
from bridges.ledger.settings import LedgerSettings
from bridges.position import Position
from bus import Bus, open_bus
from bus.nats.connection import connect
from bus.subjects import LOG_STREAM
from schemas.errors import ProjectionHalted, Unavailable
from schemas.ids import TaskId, TenantId

TENANT = TenantId("acme")
Make = Callable[[Bus], Bridge]


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def bridges(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[tuple[Make, Make]]:
    """How to make a Kafka bridge and a ledger over sinks of this test's own."""
    mark = uuid.uuid4().hex[:12]
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, prefix=f"{mark}.", transactional_id=mark, linger_ms=0)
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE log_{mark}")
    ledger = LedgerSettings.model_validate({"url": f"{postgres_url.rsplit('/', 1)[0]}/log_{mark}", "linger_ms": 0})
    try:
        yield (lambda bus: KafkaBridge(context(bus), kafka), lambda bus: Ledger(context(bus), ledger))
    finally:
        await admin.execute(f"DROP DATABASE log_{mark} WITH (FORCE)")
        await admin.close()


def context(bus: Bus) -> Context:
    return Context(bus, "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1))


async def fill(bus: Bus, story: Story, name: str, count: int) -> None:
    await asyncio.gather(*(append(bus, story.accepted(f"{name}{number}")) for number in range(count)))


async def append(bus: Bus, event: Any) -> int:
    async with asyncio.timeout(15):
        while True:
            try:
                return await bus.log.append(event, after=0, timeout_s=2.0)
            except Unavailable:
                await asyncio.sleep(0.05)


async def reach(bridge: Bridge, sequence: int) -> None:
    async with asyncio.timeout(30):
        while int(str(bridge.status()["sequence"])) < sequence:  # noqa: ASYNC110 - a server's progress
            await asyncio.sleep(0.02)


async def position(bridge: Bridge) -> Position | None:
    async with bridge.open_sink() as sink:
        return await sink.position()


class Fault:
    """What is done to the log that projections are at the end of; it then holds `more` other events."""

    def __init__(self, nats: Natsd, folder: Path) -> None:
        self.nats = nats
        self.folder = folder / "backup"

    async def back_up(self) -> None:
        self.nats.kill()
        self.nats.back_up(self.folder)
        self.nats.start()

    async def restored(self) -> None:
        self.nats.kill()
        self.nats.restore(self.folder)
        self.nats.start()

    async def recreated(self) -> None:
        async with connect(self.nats.settings()) as connection:
            await connection.api(f"STREAM.DELETE.{LOG_STREAM}", None, timeout_s=5)
        async with open_bus(self.nats.settings()):
            pass

    async def purged(self) -> None:
        async with connect(self.nats.settings()) as connection:
            await connection.api(f"STREAM.PURGE.{LOG_STREAM}", {}, timeout_s=5)


CASES = {
    "recreated, shorter": ("recreated", 1, "it is another one"),
    "recreated, longer": ("recreated", 30, "it is another one"),
    "truncated": ("restored", 0, "the log ends at 10"),
    "restored and outgrown": ("restored", 30, "use(d)? their sequences again"),  # seen before or after it grew
}


@pytest.mark.parametrize("moment", ["at the start", "while running"])
@pytest.mark.parametrize("case", CASES)
async def test_a_log_that_is_not_the_one_that_was_read_halts_both_projections(
    nats: Natsd, tmp_path: Path, bridges: tuple[Make, Make], case: str, moment: str
) -> None:
    """Ten events are in the backup, twenty were projected."""
    how, more, told = CASES[case]
    fault, story = Fault(nats, tmp_path), Story()
    async with open_bus(nats.settings()) as bus:
        await fill(bus, story, "kept", 10)
        await fault.back_up()
        await fill(bus, story, "lost", 10)
        async with running(bus, bridges) as both:
            for bridge, _ in both:
                await reach(bridge, 20)
            if moment == "while running":
                await getattr(fault, how)()
                await fill(bus, story, "other", more)
                await all_halt(both, told)
        if moment == "at the start":
            await getattr(fault, how)()
            await fill(bus, story, "other", more)
            async with running(bus, bridges) as both:
                await all_halt(both, told)
        for make in bridges:
            at = await position(make(bus))
            assert at is not None
            assert at.sequence == 20


@pytest.mark.parametrize("moment", ["at the start", "while running"])
async def test_a_log_purged_of_what_was_not_read_halts_both_projections(
    nats: Natsd, tmp_path: Path, bridges: tuple[Make, Make], moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, story = Fault(nats, tmp_path), Story()
    async with open_bus(nats.settings()) as bus:
        await fill(bus, story, "read", 10)
        async with running(bus, bridges) as both:
            for bridge, _ in both:
                await reach(bridge, 10)
            if moment == "while running":
                gate = hold_writes(monkeypatch, both)
                await fill(bus, story, "held", 1)
                await asyncio.sleep(0.3)
                await purge_half(bus, story, fault)
                gate.set()
                await all_halt(both, "was due|trimmed unread")
        if moment == "at the start":
            await purge_half(bus, story, fault)
            async with running(bus, bridges) as both:
                await all_halt(both, "trimmed unread")
        for make in bridges:
            at = await position(make(bus))
            assert at is not None
            assert at.sequence == 10


async def purge_half(bus: Bus, story: Story, fault: Fault) -> None:
    """Events that nobody has read are gone, and others come after them."""
    await fill(bus, story, "purged", 10)
    await fault.purged()
    await fill(bus, story, "after", 5)


def hold_writes(monkeypatch: pytest.MonkeyPatch, both: "Both") -> asyncio.Event:
    """Sinks that take long: nothing is written until the event is set."""
    gate = asyncio.Event()
    for bridge, _ in both:
        projection = bridge._projection
        write = projection._write
        monkeypatch.setattr(projection, "_write", gated(gate, write))
    return gate


def gated(gate: asyncio.Event, write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def held(*args: Any) -> None:
        await gate.wait()
        await write(*args)

    return held


Both = list[tuple[Bridge, "asyncio.Task[None]"]]


@asynccontextmanager
async def running(bus: Bus, makes: tuple[Make, Make]) -> AsyncIterator[Both]:
    """Both at work; leaving drains those that have not halted."""
    made = [make(bus) for make in makes]
    both = [(bridge, asyncio.create_task(bridge.run())) for bridge in made]
    try:
        yield both
    finally:
        for bridge in made:
            bridge.context.draining.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*(task for _, task in both), return_exceptions=True)


async def all_halt(both: Both, told: str) -> None:
    for bridge, task in both:
        async with asyncio.timeout(15):
            with pytest.raises(ProjectionHalted, match=told) as halted:
                await task
        assert any(word in halted.value.message for word in ("Restore", "Point", "empty sink"))
        assert bridge.ready() == halted.value.message


@pytest.mark.parametrize("how", ["recreated", "restored"])
async def test_a_sweeper_ends_the_tasks_of_a_log_that_was_replaced_under_it(
    nats: Natsd, tmp_path: Path, how: str
) -> None:
    fault, story = Fault(nats, tmp_path), Story()
    async with open_bus(nats.settings()) as bus:
        await fill(bus, story, "kept", 3)
        await fault.back_up()
        await fill(bus, story, "lost", 20)
        now_ms = NOW_MS + 3_600_000  # all of the story is overdue
        sweeper = Sweeper(
            Context(bus, "one", structlog.get_logger(), lambda: now_ms, random.Random(1)), SweeperSettings(required=())
        )
        async with sweeper.lifespan():
            sweeping = asyncio.create_task(sweeper.run())
            try:
                await ended(bus, "lost19")
                await getattr(fault, how)()
                await fill(bus, story, "other", 2)
                for name in ["other0", "other1"] + (["kept0"] if how == "restored" else []):
                    await ended(bus, name)
            finally:
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)


async def ended(bus: Bus, task_id: str) -> None:
    async with asyncio.timeout(15):
        async for entry in bus.log.follow(TENANT, TaskId(task_id)):
            newest = json.loads(entry.data)["event"]
    assert newest == "ended"
