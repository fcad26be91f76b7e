"""An edge on a real port over the twin of the bus, and whoever answers its tasks."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from actors.runtime import Context
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from edge.actor import Edge
from edge.limits.settings import LimitsSettings
from edge.settings import EdgeSettings
from schemas.delta import Delta
from schemas.errors import WrongSequence
from schemas.events import Accepted, Ended, Outcome, Routed, following, read_task_event
from schemas.ids import EventId, TenantId, uuid7
from schemas.keys import RANDOM_BYTES, mint, parse, record_key
from schemas.message import changed, decode, encode
from schemas.registry import ApiKeyRecord, EngineAdvert, ModuleRecord
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority

LOCAL = Engine(route="local", chosen_by="ai-router", reason="the only one")
DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class End:
    """How a task shall end."""

    result: Mapping[str, Any]
    outcome: Outcome = Outcome.COMPLETED
    error: TaskError | None = None
    tokens: int = 0


@dataclass
class TwinEdge:
    """The edge, the bus behind it, and a key for it."""

    server: MemoryServer
    bus: MemoryBus
    edge_bus: MemoryBus
    edge: Edge
    key: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.edge.port}"

    async def issue(self, tenant: str) -> str:
        text, record = mint(TenantId(tenant), self.server.now_ms(), random.randbytes(RANDOM_BYTES))
        await self.bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
        return text

    async def revoke(self, key: str) -> None:
        """The key is good no more."""
        where = record_key(parse(key).key_id)
        entry = await self.bus.kv.get(subjects.KEYS, where)
        assert entry is not None
        await self.bus.kv.put(subjects.KEYS, where, encode(changed(decode(entry.value, ApiKeyRecord), revoked=True)))

    async def admit(self, *records: ModuleRecord | EngineAdvert) -> None:
        """Put them where they belong, and let the edge hear of them."""
        for record in records:
            if isinstance(record, ModuleRecord):
                await self.bus.kv.put(subjects.MODULES, record.name, encode(record))
            else:
                await self.bus.kv.put(subjects.ENGINES, f"{record.engine}.{record.instance}", encode(record))
        await asyncio.sleep(0.02)

    async def history(self, task_id: str, tenant: str = "acme") -> list[str]:
        """The names of the task's events."""
        events = [entry.event() for entry in await self.bus.log.events(TenantId(tenant), task_id)]  # type: ignore[arg-type]
        return [event.event if event.event != "ended" else f"ended.{event.lane}" for event in events]


@asynccontextmanager
async def twin_edge(*, rates: Mapping[str, Any] | None = None, **settings: Any) -> AsyncIterator[TwinEdge]:
    """It serves, has a key of the tenant `acme`, and limits what `rates` say."""
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        bus, edge_bus = MemoryBus(server), MemoryBus(server)
        context = Context(edge_bus, "edge-1", structlog.get_logger(), server.now_ms, keep_s=3600.0)
        edge = Edge(
            context,
            EdgeSettings(**({"port": 0, "drain_grace_s": 0.5, "accept_timeout_s": 1.0} | settings)),
            LimitsSettings.model_validate(rates or {}),
        )
        await stack.enter_async_context(edge.lifespan())
        twin = TwinEdge(server, bus, edge_bus, edge)
        twin.key = await twin.issue("acme")
        await asyncio.sleep(0.02)
        yield twin


@asynccontextmanager
async def answering(twin: TwinEdge, answer: Callable[[Accepted], End | None]) -> AsyncIterator[list[Accepted]]:
    """Somebody who ends every accepted task as `answer` says; None leaves it open."""
    seen: list[Accepted] = []

    async def work(priority: Priority) -> None:
        async with twin.bus.queue.take(subjects.accepted(priority), slots=64) as taker:
            while True:
                delivery = await taker.get()
                event = read_task_event(delivery.entry.data)
                assert isinstance(event, Accepted)
                seen.append(event)
                end = answer(event)
                if end is not None:
                    with suppress(WrongSequence):  # cancelled meanwhile
                        await twin.bus.log.append(_ended(event, end), after=delivery.entry.sequence)
                await delivery.done()

    tasks = [asyncio.create_task(work(priority)) for priority in Priority]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def speaking(twin: TwinEdge, texts: Sequence[str], end: End, told: asyncio.Event) -> AsyncIterator[None]:
    """Somebody who routes the next task, says `texts` while working on it, and ends it once `told` is set."""

    async def work() -> None:
        async with twin.bus.queue.take(subjects.accepted(Priority.NORMAL), slots=1) as taker:
            delivery = await taker.get()
            event = read_task_event(delivery.entry.data)
            assert isinstance(event, Accepted)
            routed = Routed(
                **following(event, EventId(uuid7(2)), event.at_ms + 1),
                brief=event.brief,
                params=event.params,
                engine="wasm",
                decision=LOCAL,
            )
            lease = await twin.bus.log.append(routed, after=delivery.entry.sequence)
            await delivery.done()
            await asyncio.sleep(0.05)  # else the one who follows finds it all said
            for number, text in enumerate(texts, start=1):
                delta = Delta(lease=lease, number=number, text=text)
                await twin.bus.tokens.publish(event.tenant_id, event.task_id, encode(delta))
            await told.wait()
            await asyncio.sleep(0.05)
            await twin.bus.log.append(_ended(routed, end), after=lease)

    async with asyncio.TaskGroup() as group:
        working = group.create_task(work())
        yield
        await working


def _ended(event: Accepted | Routed, end: End) -> Ended:
    return Ended(
        **following(event, EventId(uuid7(1)), event.at_ms + 3),
        outcome=end.outcome,
        intent=event.brief.intent,
        engine=LOCAL,
        result=dict(end.result),
        usage=Usage(latency_ms=3, tokens=end.tokens),
        error=end.error,
    )
