"""A sweeper that starts on a log full of ended tasks ends only what is open, and keeps the log's one window."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from sweeping import NOW_MS, TENANT, accepted, fill, sweeping

from bus.memory import MemoryBus, MemoryServer
from bus.nats.connection import ApiError
from bus.port import LogInfo, Reader
from bus.subjects import POSITIONS
from schemas.errors import BusDisconnected, Unavailable, WrongSequence
from schemas.events import TaskEvent
from schemas.ids import TaskId
from schemas.message import encode
from schemas.registry import ProjectionPosition


async def test_nothing_is_swept_before_the_log_was_read_to_where_it_stood_at_the_start() -> None:
    bus = MemoryBus(MemoryServer())
    await fill(bus, count=550, open_at_once=40)
    await bus.log.append(accepted("forgotten"), after=0)
    refused: list[str] = []
    append = bus.log.append

    async def counted(event: TaskEvent, *, after: int, timeout_s: float = 5.0) -> int:
        try:
            return await append(event, after=after, timeout_s=timeout_s)
        except WrongSequence:
            refused.append(event.task_id)
            raise

    bus.log.append = counted  # type: ignore[method-assign]
    async with sweeping(bus), asyncio.timeout(5):
        events = [entry.event().event async for entry in bus.log.follow(TENANT, TaskId("forgotten"))]
    assert events == ["accepted", "ended"]
    assert refused == []


async def test_a_log_that_cannot_be_read_now_is_read_later() -> None:
    bus = MemoryBus(MemoryServer())
    await bus.log.append(accepted("overdue"), after=0)
    read, info = bus.log.read, bus.log.info
    failing = [BusDisconnected("lost again"), ApiError("CONSUMER.CREATE.LOG", 10008, "not now")]

    async def no_info(**_: float) -> LogInfo:
        bus.log.info = info  # type: ignore[method-assign]
        raise Unavailable("no answer")

    def broken(*about: Any, **more: Any) -> AbstractAsyncContextManager[Reader]:
        if failing:
            raise failing.pop()
        return read(*about, **more)

    bus.log.info, bus.log.read = no_info, broken  # type: ignore[method-assign]
    async with sweeping(bus), asyncio.timeout(10):
        events = [entry.event().event async for entry in bus.log.follow(TENANT, TaskId("overdue"))]
    assert events == ["accepted", "ended"]
    assert failing == []


async def test_the_log_keeps_what_the_one_setting_of_the_window_says() -> None:
    bus = MemoryBus(MemoryServer(max_age_s=3600.0))
    await bus.log.append(accepted("overdue"), after=0)
    async with sweeping(bus, keep_s=700.0), asyncio.timeout(5):
        while (await bus.log.info()).max_age_s != 700.0:  # noqa: ASYNC110 - the twin has no event for it
            await asyncio.sleep(0)


async def test_the_window_stays_lifted_while_the_log_is_read_up_to_where_a_projection_stopped() -> None:
    """At a start the sweeper's own place is behind every projection's: it says nothing about who lags."""
    bus = MemoryBus(MemoryServer(max_age_s=None))
    await fill(bus, count=1500, open_at_once=1)
    stopped = ProjectionPosition(projection="kafka", sequence=1000, head=1000, lag_s=0, at_ms=NOW_MS - 3_600_000)
    await bus.kv.put(POSITIONS, "kafka", encode(stopped))
    await bus.log.append(accepted("newest"), after=0)
    windows: list[float | None] = []
    set_window = bus.log.set_window

    async def noted(max_age_s: float | None, *, timeout_s: float = 5.0) -> None:
        windows.append(max_age_s)
        await set_window(max_age_s, timeout_s=timeout_s)

    bus.log.set_window = noted  # type: ignore[method-assign]
    async with sweeping(bus, required=("kafka",)), asyncio.timeout(10):
        _ = [entry async for entry in bus.log.follow(TENANT, TaskId("newest"))]
    assert windows == []
