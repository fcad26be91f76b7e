"""Who reads too slowly loses nothing: no client drops, and when the server hangs up, all that was missed is found."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import structlog
from natsd import Natsd
from relay import Relay
from story import Story

from bus import Bus, open_bus
from bus.nats.connection import connect
from bus.nats.message import Message
from bus.subjects import accepted
from edge.tasks.waiting import Waiting
from schemas.ids import TaskId, TenantId
from schemas.task import Priority

pytestmark = pytest.mark.alone

ClientName = Literal["wire", "nats-py"]
CLIENTS = pytest.mark.parametrize("client", ["wire", "nats-py"])
IMPATIENT = 'write_deadline: "300ms"'
TENANT = TenantId("acme")


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path, IMPATIENT).start()
    yield server
    server.kill()


@CLIENTS
async def test_a_burst_larger_than_any_buffer_of_the_client_is_delivered_whole(nats: Natsd, client: ClientName) -> None:
    """What comes in one read of the socket is handed on at once, before anybody else runs."""
    heard: list[bytes] = []
    done = asyncio.Event()

    def note(message: Message) -> None:
        heard.append(message.data)
        if message.data == b"4999":
            done.set()

    async with connect(nats.settings(client=client)) as connection, connect(nats.settings()) as other:
        await connection.subscribe("burst", note)
        await connection.flush(5)
        for number in range(5000):
            other.post("burst", b"%d" % number)
        async with asyncio.timeout(10):
            await done.wait()
    assert heard == [b"%d" % number for number in range(5000)]


@dataclass
class Slow:
    """A bus whose reading can be held, and another one that goes on."""

    bus: Bus
    other: Bus
    relay: Relay
    story: Story
    nats: Natsd

    async def until_the_server_hangs_up(self) -> None:
        """What it had said and nobody read is lost with the connection."""
        async with asyncio.timeout(8):
            while not self.nats.slow_consumers():  # noqa: ASYNC110 - the server's patience
                await asyncio.sleep(0.05)
        self.relay.reset()
        self.relay.from_server.set()

    async def flood(self, count: int, size: int = 100_000) -> list[int]:
        """So much that the sockets cannot take it all: the server has to wait."""
        events = [self.story.accepted(f"f{size}-{number}", text="x" * size) for number in range(count)]
        return sorted(await asyncio.gather(*(self.other.log.append(event, after=0, timeout_s=20) for event in events)))


@asynccontextmanager
async def slow(nats: Natsd, client: ClientName) -> AsyncIterator[Slow]:
    relay, held = Relay(nats.port), nats.settings(client=client)
    async with (
        relay.listening() as url,
        open_bus(held.model_copy(update={"url": url})) as bus,
        open_bus(nats.settings()) as other,
    ):
        yield Slow(bus, other, relay, Story(), nats)


@CLIENTS
async def test_a_reader_that_the_server_gave_up_reads_on_where_it_was(nats: Natsd, client: ClientName) -> None:
    async with slow(nats, client) as it, it.bus.log.read(0, batch=500) as reader:
        first = await it.flood(20)
        found = [entry.sequence for entry in await reader.next(5)]
        it.relay.from_server.clear()
        stored = first + await it.flood(400, 60_000) if found else []
        await it.until_the_server_hangs_up()
        async with asyncio.timeout(20):
            while len(found) < len(stored):
                found += [entry.sequence for entry in await reader.next(1)]
    assert found == stored
    assert it.relay.connections >= 2


@CLIENTS
async def test_deliveries_that_never_arrived_come_again(nats: Natsd, client: ClientName) -> None:
    cursor = replace(accepted(Priority.NORMAL), ack_wait_s=1.0)
    async with slow(nats, client) as it, it.bus.queue.take(cursor, slots=300) as taker:
        await asyncio.sleep(0.1)
        it.relay.from_server.clear()
        stored = await it.flood(300)
        await it.until_the_server_hangs_up()
        done: set[int] = set()
        async with asyncio.timeout(25):
            while len(done) < len(stored):
                delivery = await taker.get()
                done.add(delivery.entry.sequence)
                await delivery.done()
    assert sorted(done) == stored


@CLIENTS
async def test_ends_that_the_live_feed_missed_are_found_by_the_safety_net(nats: Natsd, client: ClientName) -> None:
    """The first look into the log is an hour away: only the lost connection can make it look."""
    clock = asyncio.get_running_loop().time
    async with slow(nats, client) as it:
        waiting = Waiting(it.bus, structlog.get_logger(), clock, recheck_s=3600)
        watch = asyncio.create_task(waiting.watch())
        try:
            async with it.bus.log.live("ended", waiting.ended), it.bus.log.live("accepted", lambda *_: None):
                with waiting.register(TENANT, TaskId("t1")) as waiter:
                    first = await it.other.log.append(it.story.accepted("t1"), after=0)
                    it.relay.from_server.clear()
                    await it.flood(200)
                    await it.other.log.append(it.story.ended("t1"), after=first)
                    await it.until_the_server_hangs_up()
                    ended = await waiter.wait(15)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    assert ended is not None
    assert waiting.rescued == 1
