"""A sweeper that starts reads from where open tasks begin, and never believes a mark of another log."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from sweeping import TENANT, accepted, ended, fill, sweeping

from actors.sweeper.mark import KEY, begin_after, fits, holds, mark_of
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry, LogInfo, Reader
from bus.subjects import POSITIONS
from schemas.ids import TaskId
from schemas.message import decode, encode
from schemas.registry import SweepMark


def entry(sequence: int, data: bytes = b"event") -> Entry:
    return Entry(sequence, 0, "aion.task.x", data)


def info(created: str = "then", first: int = 1, last: int = 100) -> LogInfo:
    return LogInfo(created, first, last, 1, None)


@pytest.mark.parametrize(("oldest", "low", "after"), [(None, 51, 49), (7, 7, 6), (50, 50, 49)])
def test_reading_begins_at_the_oldest_open_task_or_at_what_was_seen_last(
    oldest: int | None, low: int, after: int
) -> None:
    mark = mark_of(oldest, entry(50), "then")
    assert (mark.low, mark.seen, begin_after(mark)) == (low, 50, after)


def test_a_mark_fits_its_log_alone() -> None:
    mark = mark_of(None, entry(50), "then")
    assert fits(mark, info())
    assert not fits(mark, info(created="now"))
    assert not fits(mark, info(last=49))
    assert not fits(mark, info(first=51))


def test_a_mark_holds_where_the_same_event_stands() -> None:
    mark = mark_of(None, entry(50), "then")
    assert holds(mark, entry(50))
    assert not holds(mark, entry(50, b"another"))
    assert not holds(mark, entry(51))


def starts(bus: MemoryBus) -> list[int]:
    """After which sequence the log is read, at each beginning."""
    found: list[int] = []
    read = bus.log.read

    def noted(after: int, *, batch: int = 1000, linger_s: float = 0.0) -> AbstractAsyncContextManager[Reader]:
        found.append(after)
        return read(after, batch=batch, linger_s=linger_s)

    bus.log.read = noted  # type: ignore[method-assign]
    return found


async def kept_mark(bus: MemoryBus, seen: int) -> SweepMark:
    """The mark that a sweeper leaves once it has read up to `seen`."""
    while True:
        value = await bus.kv.get(POSITIONS, KEY)
        if value is not None and (mark := decode(value.value, SweepMark)).seen >= seen:
            return mark
        await asyncio.sleep(0)


async def test_the_next_sweeper_begins_where_the_one_before_saw_the_oldest_open_task() -> None:
    bus = MemoryBus(MemoryServer())
    await fill(bus, count=300, open_at_once=1)
    first = await bus.log.append(accepted("patient", deadline_in_s=60), after=0)
    last = await bus.log.append(accepted("late"), after=0)
    async with sweeping(bus), asyncio.timeout(5):
        mark = await kept_mark(bus, last + 1)  # it has ended `late`
    assert mark.low == first
    begun = starts(bus)
    await bus.log.append(accepted("new"), after=0)
    async with sweeping(bus), asyncio.timeout(5):
        assert [e.event().event async for e in bus.log.follow(TENANT, TaskId("new"))] == ["accepted", "ended"]
    assert begun == [first - 1]


async def test_a_mark_of_a_log_that_was_restored_hides_no_open_task() -> None:
    """The log is as long as it was, and has the same creation time; what the mark saw did not happen in it."""
    bus = MemoryBus(MemoryServer())
    await bus.log.append(accepted("forgotten"), after=0)
    await fill(bus, count=50, open_at_once=1)
    now = await bus.log.info()
    wrong = SweepMark(created=now.created, low=now.last, seen=now.last - 10, seen_sha256="0" * 64)
    await bus.kv.put(POSITIONS, KEY, encode(wrong))
    begun = starts(bus)
    async with sweeping(bus), asyncio.timeout(5):
        assert [e.event().event async for e in bus.log.follow(TENANT, TaskId("forgotten"))] == ["accepted", "ended"]
    assert begun[:2] == [wrong.seen - 1, 0]


@pytest.mark.parametrize("value", [b"", b"{", b'{"created":"x","low":0,"seen":1,"seen_sha256":""}'])
async def test_an_unreadable_mark_is_none(value: bytes) -> None:
    bus = MemoryBus(MemoryServer())
    await bus.log.append(accepted("overdue"), after=0)
    await bus.kv.put(POSITIONS, KEY, value)
    begun = starts(bus)
    async with sweeping(bus), asyncio.timeout(5):
        assert [e.event().event async for e in bus.log.follow(TENANT, TaskId("overdue"))] == ["accepted", "ended"]
    assert begun == [0]


async def test_a_task_that_ends_moves_the_mark_on() -> None:
    bus = MemoryBus(MemoryServer())
    sequence = await bus.log.append(accepted("done", deadline_in_s=60), after=0)
    last = await bus.log.append(ended("done"), after=sequence)
    async with sweeping(bus), asyncio.timeout(5):
        assert (await kept_mark(bus, last)).low == last + 1
