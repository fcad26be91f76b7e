"""nats-server gone under load: the edge says 503 at once, all comes back by itself, and nothing accepted is lost.

The suite plays 8 s at 100 requests/s. The long form:

    AION_OUTAGE_S=60 AION_OUTAGE_RATE=200 python -m pytest -s tests/integration/test_outage.py
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest
import structlog
from natsd import Natsd

from actors.runtime import Actor, Work
from actors.runtime.actor import NoSettings
from actors.runtime.supervisor import Cast, Supervisor
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bus import Bus, open_bus
from bus.persist import persist
from bus.port import Delivery
from bus.subjects import ENGINES, KEYS, routed
from edge.actor import Edge
from edge.settings import EdgeSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas.errors import WrongSequence
from schemas.events import Ended, Outcome, Routed, following
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Usage
from schemas.task import Priority

pytestmark = pytest.mark.alone

GONE_S = float(os.environ.get("AION_OUTAGE_S", "8"))
RATE = float(os.environ.get("AION_OUTAGE_RATE", "100"))
BEFORE_S = 1.5
AFTER_S = 4.5
TIMEOUT_S = 30 + 2 * GONE_S
"""Of a task: none passes its deadline because the server is away."""
ENGINE = "echo"


class Echo(Actor):
    """An executor that answers with the params."""

    name: ClassVar[str] = ENGINE

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        advert = EngineAdvert(engine=ENGINE, instance="1", route="local", intents=("greet",), slots=64, free_slots=64)
        await self.context.bus.kv.put(ENGINES, f"{ENGINE}.1", encode(advert))
        yield

    def works(self) -> Sequence[Work]:
        return [Work(routed(ENGINE, priority), self.answer, 64) for priority in Priority]

    async def answer(self, delivery: Delivery) -> None:
        event = delivery.entry.event()
        assert isinstance(event, Routed)
        ended = Ended(
            **following(event, self.context.new_event_id(), self.context.now_ms()),
            outcome=Outcome.COMPLETED,
            intent=event.brief.intent,
            engine=event.decision,
            usage=Usage(latency_ms=1),
        )
        try:
            await persist(self.context.bus.log, ended, after=delivery.entry.sequence, give_up_s=8)
        except WrongSequence:
            return


@dataclass
class Answer:
    """Of one request: when it was due, and what it got after how long (seconds)."""

    due_s: float
    status: int
    took_s: float
    task_id: str | None = None
    retry_after: str | None = None


@dataclass
class Load:
    """Requests at a fixed rate, whether or not the ones before were answered."""

    http: aiohttp.ClientSession
    answers: list[Answer] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * RATE)):
                due_s = begun + number / RATE
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                group.create_task(self._one(due_s, number))

    async def _one(self, due_s: float, number: int) -> None:
        task = {"intent": "greet", "params": {"number": number}, "sla": {"timeout_s": TIMEOUT_S}}
        async with self.http.post("/v1/tasks", json=task, headers={"Prefer": "respond-async"}) as response:
            body = await response.json()
            took_s = time.monotonic() - due_s
            retry_after = response.headers.get("Retry-After")
            self.answers.append(Answer(due_s, response.status, took_s, body.get("task_id"), retry_after))


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@asynccontextmanager
async def system(nats: Natsd) -> AsyncIterator[tuple[Bus, aiohttp.ClientSession]]:
    cast = Cast(
        [
            (Edge, EdgeSettings(port=0, drain_grace_s=1.0)),
            (Router, RouterSettings(wait_min_s=0.05, wait_max_s=0.2)),
            (Echo, NoSettings()),
            (Sweeper, SweeperSettings(required=())),
        ]
    )
    supervisor = Supervisor(cast, lambda: open_bus(nats.settings()), structlog.get_logger(), keep_s=600)
    run = asyncio.create_task(supervisor.run())
    try:
        async with open_bus(nats.settings()) as bus:
            key, record = mint(TenantId("acme"), time.time_ns() // 1_000_000, secrets.token_bytes(RANDOM_BYTES))
            await bus.kv.put(KEYS, record_key(record.key_id), encode(record))
            async with asyncio.timeout(20):
                while not (port := int(str(supervisor.status().get("edge", {}).get("port", 0)))):  # noqa: ASYNC110 - no event tells of it
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.5)
            async with aiohttp.ClientSession(
                f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {key}"},
                connector=aiohttp.TCPConnector(limit=0),
            ) as http:
                yield bus, http
    finally:
        supervisor.drain()
        async with asyncio.timeout(30):
            assert await run == 0


async def lives(bus: Bus) -> dict[str, list[str]]:
    """The events of every task of the log, in order."""
    found: dict[str, list[str]] = {}
    last = (await bus.log.info()).last
    async with bus.log.read(0) as reader:
        read = 0
        while read < last:
            for entry in await reader.next(5.0):
                read = entry.sequence
                _, _, event, *_, task_id = entry.subject.split(".")
                found.setdefault(task_id, []).append(event)
    return found


@pytest.mark.timeout(120 + 2 * GONE_S)
async def test_a_server_that_is_gone_is_refused_at_once_and_recovered_from(nats: Natsd) -> None:
    async with system(nats) as (bus, http):
        load = Load(http)
        running = asyncio.create_task(load.run(BEFORE_S + GONE_S + AFTER_S))
        await asyncio.sleep(BEFORE_S)
        nats.kill()
        gone_at = time.monotonic()
        await asyncio.sleep(GONE_S)
        await asyncio.to_thread(nats.start)
        back_at = time.monotonic()
        await running
        taken = [answer for answer in load.answers if answer.status == 202]
        stored = await all_ended(bus)
    during = [answer for answer in load.answers if gone_at + 0.1 < answer.due_s < back_at - 0.5]
    waits = sorted(answer.took_s for answer in during)
    p99_s = waits[int(len(waits) * 0.99)]
    recovered_s = min(answer.due_s for answer in taken if answer.due_s > gone_at + 0.1) - back_at
    sys.stdout.write(
        f"\n{len(load.answers)} requests, {len(taken)} accepted; {len(during)} refused while the server was gone "
        f"{back_at - gone_at:.1f} s: p50 {waits[len(waits) // 2] * 1000:.1f} ms, p99 {p99_s * 1000:.1f} ms; accepted "
        f"again {recovered_s:.2f} s after it was back\n"
    )  # shown by -s
    assert {(answer.status, answer.retry_after) for answer in during} == {(503, "2")}
    assert len(during) > 0.8 * GONE_S * RATE
    assert p99_s < 0.25
    assert {answer.status for answer in load.answers} == {202, 503}
    late = [answer for answer in load.answers if answer.due_s > back_at + 3.0]
    assert late
    assert {answer.status for answer in late} == {202}
    assert {answer.task_id for answer in taken} - stored.keys() == set()
    assert {tuple(life) for life in stored.values()} == {("accepted", "routed", "ended")}


async def all_ended(bus: Bus) -> dict[str, list[str]]:
    """The log once every task in it has ended; as it is after 20 s."""
    deadline = time.monotonic() + 20
    while True:
        found = await lives(bus)
        if all(life[-1] == "ended" for life in found.values()) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)
