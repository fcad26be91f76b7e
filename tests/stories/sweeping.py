"""Overdue tasks in a log of the twin, and a sweeper at work on it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from actors.runtime import Context
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bus.memory import MemoryBus
from schemas.events import UNROUTED, Accepted, Brief, Ended, Outcome
from schemas.ids import EventId, TaskId, TenantId
from schemas.result import Usage
from schemas.task import Priority, Privacy

NOW_MS = 1_000_000
TENANT = TenantId("acme")


def accepted(task: str, deadline_in_s: float = -8.0) -> Accepted:
    """A task's first event; without more it is overdue."""
    brief = Brief(
        intent="summarize",
        priority=Priority.NORMAL,
        privacy=Privacy.LOCAL_ONLY,
        accepted_at_ms=NOW_MS - 9000,
        deadline_ms=NOW_MS + round(deadline_in_s * 1000),
    )
    event_id, at_ms = EventId(f"a-{task}"), NOW_MS - 9000
    return Accepted(
        event_id=event_id, tenant_id=TENANT, task_id=TaskId(task), at_ms=at_ms, brief=brief, params={}, fingerprint="f"
    )


def ended(task: str) -> Ended:
    """Its good end."""
    return Ended(
        event_id=EventId(f"e-{task}"),
        tenant_id=TENANT,
        task_id=TaskId(task),
        at_ms=NOW_MS,
        outcome=Outcome.COMPLETED,
        intent="summarize",
        engine=UNROUTED,
        usage=Usage(latency_ms=1),
    )


async def fill(bus: MemoryBus, count: int, open_at_once: int) -> None:
    """`count` overdue tasks that all ended, `open_at_once` of them open at any time: a batch never ends between."""
    sequences = [0] * count
    for number in range(count + open_at_once):
        if number < count:
            sequences[number] = await bus.log.append(accepted(f"t{number}"), after=0)
        if number >= open_at_once:
            done = number - open_at_once
            await bus.log.append(ended(f"t{done}"), after=sequences[done])


@asynccontextmanager
async def sweeping(bus: MemoryBus, keep_s: float = 3600.0, required: tuple[str, ...] = ()) -> AsyncIterator[None]:
    """A sweeper at work that waits for no projection but `required`."""
    context = Context(bus, "one", structlog.get_logger(), lambda: NOW_MS, random.Random(1), keep_s=keep_s)
    sweeper = Sweeper(context, SweeperSettings(required=required, window_every_s=0.001, mark_every_s=0.001))
    async with sweeper.lifespan():
        running = asyncio.create_task(sweeper.run())
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
