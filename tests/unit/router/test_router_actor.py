"""The router on the twin: what it appends, and what it leaves alone."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from actors.runtime import Context, GiveBack
from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery
from bus.subjects import ENGINES, accepted
from edge.settings import EdgeSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas.errors import LogFull
from schemas.events import Accepted, AttemptFailed, Brief, Ended, Outcome, Routed
from schemas.ids import EventId, TaskId, TenantId
from schemas.message import changed, encode
from schemas.registry import EngineAdvert
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

TENANT, TASK = TenantId("acme"), TaskId("task-1")
LOCAL = Engine(route="local", chosen_by="ai-router", reason="only_eligible: wasm")


class Ground:
    """A twin, a router on it, and a cursor's worth of deliveries."""

    def __init__(self, server: MemoryServer, bus: MemoryBus, router: Router) -> None:
        self.server, self.bus, self.router = server, bus, router

    def accepted(self, *, timeout_ms: int = 60_000) -> Accepted:
        now_ms = self.server.now_ms()
        brief = Brief(
            intent="summarize",
            priority=Priority.NORMAL,
            privacy=Privacy.LOCAL_ONLY,
            accepted_at_ms=now_ms,
            deadline_ms=now_ms + timeout_ms,
        )
        return Accepted(
            event_id=EventId("accepted-1"),
            tenant_id=TENANT,
            task_id=TASK,
            at_ms=now_ms,
            brief=brief,
            params={"text": "x"},
            fingerprint="f",
        )

    async def advertise(self, engine: str) -> None:
        advert = EngineAdvert(engine=engine, instance="1", route="local", intents=("summarize",), slots=1, free_slots=1)
        await self.bus.kv.put(ENGINES, f"{engine}.1", encode(advert))

    async def deliver(self) -> Delivery:
        async with self.bus.queue.take(accepted(Priority.NORMAL), slots=1) as taker:
            delivery = await taker.get()
            await delivery.done()
            return delivery

    async def kinds(self) -> list[Any]:
        return [entry.event() for entry in await self.bus.log.events(TENANT, TASK)]


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    server = MemoryServer()
    bus = MemoryBus(server)
    context = Context(bus, "test", structlog.get_logger(), server.now_ms, random.Random(1))
    router = Router(context, RouterSettings())
    async with AsyncExitStack() as stack:
        ground = Ground(server, bus, router)
        await ground.advertise("wasm")
        await stack.enter_async_context(router.lifespan())
        yield ground


async def test_an_accepted_task_is_routed_to_the_live_engine(ground: Ground) -> None:
    await ground.bus.log.append(ground.accepted(), after=0)
    await ground.router.route_accepted(await ground.deliver())
    first, second = await ground.kinds()
    assert isinstance(second, Routed)
    assert (second.engine, second.params, second.brief) == ("wasm", first.params, first.brief)
    assert second.decision.chosen_by == "ai-router"


async def test_a_task_that_was_routed_already_is_left_alone(ground: Ground) -> None:
    await ground.bus.log.append(ground.accepted(), after=0)
    delivery = await ground.deliver()
    await ground.router.route_accepted(delivery)
    await ground.router.route_accepted(delivery)
    assert [event.event for event in await ground.kinds()] == ["accepted", "routed"]


async def test_without_an_engine_the_task_is_given_back(ground: Ground) -> None:
    await ground.bus.kv.delete(ENGINES, "wasm.1")
    await ground.bus.log.append(ground.accepted(), after=0)
    with pytest.raises(GiveBack):
        await ground.router.route_accepted(await ground.deliver())
    assert len(await ground.kinds()) == 1


async def test_an_overdue_task_is_left_to_the_sweeper(ground: Ground) -> None:
    await ground.bus.log.append(ground.accepted(timeout_ms=0), after=0)
    await ground.router.route_accepted(await ground.deliver())
    assert len(await ground.kinds()) == 1


async def test_a_failed_attempt_without_fallbacks_ends_the_task(ground: Ground) -> None:
    event = ground.accepted()
    sequence = await ground.bus.log.append(event, after=0)
    delivery = await ground.deliver()
    await ground.router.route_accepted(delivery)
    routed = (await ground.bus.log.events(TENANT, TASK))[1]
    failed = AttemptFailed(
        event_id=EventId("failed-1"),
        tenant_id=TENANT,
        task_id=TASK,
        at_ms=event.at_ms,
        brief=event.brief,
        params=event.params,
        engine="wasm",
        fallbacks=(),
        attempt=1,
        error=TaskError(code="module_error", message="trap"),
        cost_nanousd=100,
        spent_nanousd=200,
    )
    stored = await ground.bus.log.append(failed, after=routed.sequence)
    entry = (await ground.bus.log.events(TENANT, TASK))[2]
    assert (entry.sequence, sequence) == (stored, 1)
    await ground.router.route_failed(_Handed(entry))
    last = (await ground.kinds())[-1]
    assert isinstance(last, Ended)
    assert (last.outcome, last.error) == (Outcome.FAILED, failed.error)
    assert last.usage == Usage(latency_ms=last.usage.latency_ms, cost_nanousd=300)


async def test_the_next_attempt_begins_with_what_those_before_it_cost(ground: Ground) -> None:
    await ground.advertise("spare")
    sequence = await ground.bus.log.append(ground.accepted(), after=0)
    first = Routed(
        **_place(ground), brief=ground.accepted().brief, params={}, engine="wasm", decision=LOCAL, fallbacks=("spare",)
    )
    sequence = await ground.bus.log.append(first, after=sequence)
    failed = AttemptFailed(
        **_place(ground) | {"event_id": EventId("failed-1")},
        brief=first.brief,
        params={},
        engine="wasm",
        fallbacks=("spare",),
        attempt=1,
        error=TaskError(code="module_error", message="trap"),
        cost_nanousd=100,
        spent_nanousd=200,
    )
    await ground.bus.log.append(failed, after=sequence)
    await ground.router.route_failed(_Handed((await ground.bus.log.events(TENANT, TASK))[2]))
    last = (await ground.kinds())[-1]
    assert isinstance(last, Routed)
    assert (last.engine, last.spent_nanousd) == ("spare", 300)


def _place(ground: Ground) -> dict[str, Any]:
    return {"event_id": EventId("routed-1"), "tenant_id": TENANT, "task_id": TASK, "at_ms": ground.server.now_ms()}


class _Handed:
    """A delivery handed over by hand."""

    delivered = 1

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    async def done(self) -> None:
        """Nothing to acknowledge."""

    async def give_back(self, delay_s: float = 0.0) -> None:
        """Nothing to return."""


async def test_a_full_log_gives_the_task_back_until_there_is_room(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(event: object, *, after: int, timeout_s: float) -> int:
        raise LogFull("the log is full", retry_after_s=5)

    await ground.bus.log.append(ground.accepted(), after=0)
    delivery = await ground.deliver()
    monkeypatch.setattr(ground.bus.log, "append", full)
    with pytest.raises(GiveBack) as given:
        await ground.router.route_accepted(delivery)
    assert given.value.delay_s == 5


async def test_tasks_that_wait_for_an_engine_block_no_others(ground: Ground) -> None:
    """As many as edges let wait in all, by default."""
    for number in range(EdgeSettings().max_backlog):
        await ground.bus.log.append(changed(ground.accepted(), task_id=TaskId(f"waits-{number}")), after=0)
    async with ground.bus.queue.take(accepted(Priority.NORMAL), slots=256) as taker, asyncio.timeout(30):
        for _ in range(EdgeSettings().max_backlog):
            await (await taker.get()).give_back(3600)
        await ground.bus.log.append(ground.accepted(), after=0)
        event = (await taker.get()).entry.event()
    assert isinstance(event, Accepted)
    assert event.task_id == TASK
