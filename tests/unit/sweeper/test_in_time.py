"""What holds up one task's end, or comes all at once, makes no other end late."""

import asyncio
from random import Random
from typing import cast

import structlog
from simulation.loop import VirtualLoop

from actors.runtime import Context
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bus.memory import MemoryBus, MemoryServer
from schemas.events import Accepted, Brief
from schemas.ids import EventId, TaskId, TenantId
from schemas.task import Priority, Privacy

TENANT = TenantId("acme")


def accepted(task: str, deadline_ms: int) -> Accepted:
    brief = Brief(
        intent="summarize",
        priority=Priority.NORMAL,
        privacy=Privacy.LOCAL_ONLY,
        accepted_at_ms=0,
        deadline_ms=deadline_ms,
    )
    return Accepted(
        event_id=EventId(f"a-{task}"),
        tenant_id=TENANT,
        task_id=TaskId(task),
        at_ms=0,
        brief=brief,
        params={},
        fingerprint="f",
    )


async def seconds_until_the_second_ends() -> float:
    loop = asyncio.get_running_loop()
    server = MemoryServer(lambda: round(loop.time() * 1e9))
    bus = MemoryBus(server)
    await bus.log.append(accepted("unanswered", 1000), after=0)
    await bus.log.append(accepted("next", 1500), after=0)
    context = Context(bus, "one", structlog.get_logger(), lambda: round(loop.time() * 1e3), Random(1))
    sweeper = Sweeper(context, SweeperSettings(required=(), grace_s=0))
    async with sweeper.lifespan():
        server.lose_next_ack()
        running = asyncio.create_task(sweeper.run())
        async for entry in bus.log.follow(TENANT, TaskId("next")):
            ended_s = entry.at_ns / 1e9
        context.draining.set()
        await running
    return ended_s


def test_a_lost_acknowledgement_does_not_make_other_tasks_late() -> None:
    loop = VirtualLoop(Random(1))
    try:
        ended_s = loop.run(seconds_until_the_second_ends())
        assert loop.finish() == []
    finally:
        loop.close()
    assert 1.5 <= ended_s < 3.0


async def seconds_until_all_end(count: int) -> float:
    loop = asyncio.get_running_loop()
    bus = MemoryBus(MemoryServer(lambda: round(loop.time() * 1e9)))
    for number in range(count):
        await bus.log.append(accepted(f"t{number}", 1000), after=0)
    context = Context(bus, "one", structlog.get_logger(), lambda: round(loop.time() * 1e3), Random(1))
    sweeper = Sweeper(context, SweeperSettings(required=(), grace_s=0))
    async with sweeper.lifespan():
        running = asyncio.create_task(sweeper.run())
        while cast("int", sweeper.status()["swept"]) < count:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)
        ended_s = loop.time()
        context.draining.set()
        await running
    return ended_s


def test_thousands_of_deadlines_in_the_same_moment_are_met() -> None:
    loop = VirtualLoop(Random(1))
    try:
        ended_s = loop.run(seconds_until_all_end(4000))
        assert loop.finish() == []
    finally:
        loop.close()
    assert 1.0 <= ended_s < 2.5
