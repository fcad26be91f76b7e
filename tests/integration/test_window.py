"""A projection that is down for several of the log's windows finds every event when it comes back."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import structlog
from natsd import Natsd
from story import NOW_MS, Story

from actors.runtime import Actor, Context
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bridges.ledger.actor import Ledger
from bridges.ledger.connect import writing_connection
from bridges.ledger.settings import LedgerSettings
from bus import Bus, open_bus

KEEP_S = 2.0
DOWN_S = 3.2 * KEEP_S


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
async def settings(postgres_url: str) -> AsyncIterator[LedgerSettings]:
    name = f"window_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        yield LedgerSettings.model_validate({"url": f"{postgres_url.rsplit('/', 1)[0]}/{name}"})
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def context(bus: Bus) -> Context:
    return Context(bus, "one", structlog.get_logger(), now_ms, random.Random(1), keep_s=KEEP_S)


@asynccontextmanager
async def running(actor: Actor) -> AsyncIterator[None]:
    """Drained at the end, as by SIGTERM."""
    async with actor.lifespan():
        run = asyncio.create_task(actor.run())
        try:
            yield
        finally:
            actor.context.draining.set()
            await run


def sweeping(bus: Bus) -> Sweeper:
    return Sweeper(context(bus), SweeperSettings(required=("ledger",), window_every_s=0.2))


async def append_for(bus: Bus, story: Story, name: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        later_ms = now_ms() - NOW_MS
        await bus.log.append(story.accepted(f"{name}{number}", later_ms=later_ms), after=0)
        number += 1
        await asyncio.sleep(0.05)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await holds():  # noqa: ASYNC110 - a server's own time
            await asyncio.sleep(0.05)


async def reach_the_end(bus: Bus, ledger: Ledger) -> int:
    last = (await bus.log.info()).last

    async def there() -> bool:
        return int(str(ledger.status()["sequence"])) >= last

    await until(there)
    return last


async def test_nothing_leaves_the_log_while_a_projection_lacks_it(nats: Natsd, settings: LedgerSettings) -> None:
    """The sweeper is started anew meanwhile, and learns of the lag from what the projection told last."""
    story = Story()
    short = nats.settings().model_copy(update={"keep_s": KEEP_S})
    async with open_bus(short) as bus:
        async with running(sweeping(bus)):
            before = Ledger(context(bus), settings)
            async with running(before):
                await append_for(bus, story, "read", 0.5)
                await reach_the_end(bus, before)
            await append_for(bus, story, "unread", DOWN_S / 2)
        async with running(sweeping(bus)):
            await append_for(bus, story, "more", DOWN_S / 2)
            unread = await bus.log.info()
            assert (unread.first, unread.max_age_s) == (1, None)
            after = Ledger(context(bus), settings)
            async with running(after):
                last = await reach_the_end(bus, after)

                async def trimmed() -> bool:
                    info = await bus.log.info()
                    return info.max_age_s == KEEP_S and info.first > unread.last

                await until(trimmed)
    async with writing_connection(settings) as connection:
        assert await connection.fetchval("SELECT count(*) FROM tasks") == last
