"""The bare spine: tasks handed in and awaited by the ports of the bus, without a door."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from benchmarks.load import Done, Send
from benchmarks.workload import INTENT, TEXT
from bus.port import Bus
from schemas.errors import AionError
from schemas.events import Accepted, Brief
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.task import Priority, Privacy

TENANT: Final = TenantId("bench")
DEADLINE_MS: Final = 60_000
COMPLETED: Final = b'"outcome":"completed"'


def accepted(intent: str, params: dict[str, Any]) -> Accepted:
    """The first event of a fresh task, as an edge makes it."""
    now_ms = time.time_ns() // 1_000_000
    return Accepted(
        event_id=EventId(uuid7(now_ms)),
        tenant_id=TENANT,
        task_id=TaskId(uuid7(now_ms)),
        at_ms=now_ms,
        traceparent=f"00-{'1' * 32}-{'1' * 16}-00",
        brief=Brief(
            intent=intent,
            priority=Priority.NORMAL,
            privacy=Privacy.LOCAL_ONLY,
            accepted_at_ms=now_ms,
            deadline_ms=now_ms + DEADLINE_MS,
        ),
        params=params,
        fingerprint="0" * 64,
    )


@asynccontextmanager
async def spine(bus: Bus) -> AsyncIterator[Send]:
    """The `Send` of the load loops; a task that was not completed has failed."""
    loop = asyncio.get_running_loop()
    waiting: dict[str, Done] = {}
    appends: set[asyncio.Task[None]] = set()

    def ended(_tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        done = waiting.pop(task_id, None)
        if done is not None:
            done(COMPLETED in data)

    async def append(event: Accepted) -> None:
        try:
            await bus.log.append(event, after=0)
        except AionError:
            done = waiting.pop(event.task_id, None)
            if done is not None:
                done(False)

    def send(done: Done) -> None:
        event = accepted(INTENT, {"text": TEXT})
        waiting[event.task_id] = done
        task = loop.create_task(append(event))
        appends.add(task)
        task.add_done_callback(appends.discard)

    async with bus.log.live("ended", ended):
        yield send
