"""An edge over a real server: a full log and a queue that is too long refuse new tasks, and say when to come back."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from natsd import Natsd
from story import NOW_MS, Story

from actors.runtime import Context
from bus import Bus, open_bus
from bus.subjects import KEYS, MODULES, accepted
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.errors import LogFull
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import ModuleRecord
from schemas.task import Priority

MIB = 1 << 20


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Any:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@dataclass
class Front:
    """An edge, a client of it, and a bus beside it."""

    bus: Bus
    edge: Edge
    http: aiohttp.ClientSession

    async def submit(self, size: int = 10) -> tuple[int, dict[str, Any], str | None]:
        task = {"intent": "greet", "params": {"text": "x" * size}}
        async with self.http.post("/v1/tasks", json=task, headers={"Prefer": "respond-async"}) as response:
            return response.status, await response.json(), response.headers.get("Retry-After")


@asynccontextmanager
async def front(nats: Natsd, *, max_bytes: int = 64 * MIB, **settings: Any) -> AsyncIterator[Front]:
    settings_of_bus = nats.settings(max_bytes=max_bytes)
    async with open_bus(settings_of_bus) as bus, open_bus(settings_of_bus) as edge_bus:
        module = ModuleRecord(name="greeter", version="1.0.0", digest="sha256:" + "0" * 64, intents=("greet",))
        await bus.kv.put(MODULES, "greeter", encode(module))
        key, record = mint(TenantId("acme"), NOW_MS, random.randbytes(RANDOM_BYTES))
        await bus.kv.put(KEYS, record_key(record.key_id), encode(record))
        context = Context(edge_bus, "one", structlog.get_logger(), lambda: time.time_ns() // 1_000_000)
        edge = Edge(context, EdgeSettings.model_validate({"port": 0, "drain_grace_s": 1.0} | settings))
        async with (
            edge.lifespan(),
            aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}", headers={"Authorization": f"Bearer {key}"}) as http,
        ):
            yield Front(bus, edge, http)


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(10):
        while not (found := await look()):  # noqa: ASYNC110 - another process's progress
            await asyncio.sleep(0.1)
        return found


async def fill_up(bus: Bus) -> None:
    for number in range(30):
        try:
            await bus.log.append(Story().accepted(f"f{number}", text="x" * 100_000), after=0)
        except LogFull:
            return
    raise AssertionError("the log took it all")


async def test_a_log_at_its_limit_is_a_503_that_says_when_and_passes_by_itself(nats: Natsd) -> None:
    """Between two looks only the server's own refusal is there: it must say the same."""
    async with front(nats, max_bytes=2 * MIB) as it:
        await fill_up(it.bus)
        status, problem, retry_after = await it.submit(200_000)
        assert (status, problem["code"], problem["retryable"]) == (503, "log_full", True)
        assert retry_after is not None
        assert int(retry_after) >= 1
        last = (await it.bus.log.info()).last
        await it.bus.log.set_window(1.0)  # as if all projections had caught up

        async def taken() -> bool:
            return (await it.submit())[0] == 202

        await until(taken)
        assert (await it.bus.log.info()).last == last + 1


async def test_room_is_kept_in_the_log_for_the_ends_of_what_was_accepted(nats: Natsd) -> None:
    async with front(nats, max_bytes=8 * MIB) as it:
        fill = [Story().accepted(f"f{number}", text="x" * 70_000) for number in range(100)]
        await asyncio.gather(*(it.bus.log.append(event, after=0) for event in fill))
        async with asyncio.timeout(20):
            while (answer := await it.submit(20_000))[0] == 202:  # noqa: ASYNC110 - it is looked at once a second
                await asyncio.sleep(0.05)
        assert answer[1]["code"] == "log_full"
        assert (await it.bus.log.info()).size_bytes < 8 * MIB
        for number in range(3):  # there is room still
            await it.bus.log.append(Story().accepted(f"more{number}", text="x" * 70_000), after=0)
        refused_at = time.monotonic()
        for _ in range(20):
            assert (await it.submit(200_000))[0] == 503
        assert time.monotonic() - refused_at < 1.0, "a refusal asks nobody"


async def test_a_backlog_past_its_bound_is_a_503_until_it_was_worked_off(nats: Natsd) -> None:
    async with (
        front(nats, max_backlog=20, tenant_share=1.0) as it,
        it.bus.queue.take(accepted(Priority.NORMAL), slots=4) as taker,
    ):
        for _ in range(25):
            assert (await it.submit())[0] == 202

        async def refused() -> Any:
            answer = await it.submit()
            return answer if answer[0] != 202 else None

        status, problem, retry_after = await until(refused)
        assert (status, problem["code"], problem["retryable"]) == (503, "overloaded", True)
        assert retry_after is not None
        assert 2 <= int(retry_after) <= 4
        last = (await it.bus.log.info()).last
        for _ in range(5):
            assert (await it.submit())[0] == 503
        assert (await it.bus.log.info()).last == last
        assert it.edge.status()["refused_for_backlog"] == 6
        for _ in range(20):
            await (await taker.get()).done()

        async def taken() -> bool:
            return (await it.submit())[0] == 202

        await until(taken)
