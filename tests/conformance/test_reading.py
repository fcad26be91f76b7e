"""Reading the log: from a position, one task, and live."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from bus.port import Entry
from schemas.events import read_head
from schemas.ids import TaskId, TenantId
from schemas.message import changed, encode


async def test_a_reader_replays_and_then_goes_on_live(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as writer, ground.bus() as bus:
        old = [await writer.log.append(given.accepted(given.task_id()), after=0) for _ in range(30)]
        async with bus.log.read(0) as reader:
            assert [entry.sequence for entry in await collect(reader, 30)] == old
            new = [await writer.log.append(given.accepted(given.task_id()), after=0) for _ in range(30)]
            assert [entry.sequence for entry in await collect(reader, 30)] == new


async def test_a_reader_starts_after_its_position(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as bus:
        stored = [await bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(10)]
        async with bus.log.read(stored[6]) as reader:
            assert [entry.sequence for entry in await collect(reader, 3)] == stored[7:]


async def test_a_reader_at_the_end_of_the_log_gets_nothing_then_the_next(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as bus:
        last = await bus.log.append(given.accepted(given.task_id()), after=0)
        async with bus.log.read(last) as reader:
            assert list(await reader.next(0.05)) == []
            new = await bus.log.append(given.accepted(given.task_id()), after=0)
            assert [entry.sequence for entry in await collect(reader, 1)] == [new]


@pytest.mark.parametrize("linger_s", [0.0, 0.02])
async def test_a_reader_knows_whether_more_is_stored_behind_what_it_handed_out(
    ground: Any, given: Any, collect: Any, linger_s: float
) -> None:
    async with ground.bus() as bus:
        for _ in range(7):
            await bus.log.append(given.accepted(given.task_id()), after=0)
        async with bus.log.read(0, batch=3, linger_s=linger_s) as reader:
            first = await reader.next(5.0)
            assert len(first) <= 3
            assert reader.pending > 0
            await collect(reader, 7 - len(first))
            assert reader.pending == 0


async def test_a_waiting_reader_is_woken_by_an_append(ground: Any, given: Any) -> None:
    async with ground.bus() as bus, bus.log.read(0) as reader:
        waiting = asyncio.create_task(reader.next(10.0))
        await asyncio.sleep(0.05)
        stored = await bus.log.append(given.accepted(given.task_id()), after=0)
        async with asyncio.timeout(2):
            assert [entry.sequence for entry in await waiting] == [stored]


async def test_readers_do_not_share(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as bus, bus.log.read(0) as one, bus.log.read(0) as two:
        stored = [await bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(5)]
        assert [entry.sequence for entry in await collect(one, 5)] == stored
        assert [entry.sequence for entry in await collect(two, 5)] == stored


async def test_a_small_batch_reads_everything_in_order(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as bus:
        stored = await asyncio.gather(*(bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(100)))
        async with bus.log.read(0, batch=7) as reader:
            assert [entry.sequence for entry in await collect(reader, 100)] == sorted(stored)


async def test_a_lingering_reader_hands_out_what_gathered_in_one_go(ground: Any, given: Any) -> None:
    async with ground.bus() as writer, ground.bus() as bus, bus.log.read(0, linger_s=0.3) as reader:
        assert list(await reader.next(0.05)) == []
        waiting = asyncio.create_task(reader.next(10.0))
        await asyncio.sleep(0.05)
        stored = [await writer.log.append(given.accepted(given.task_id()), after=0) for _ in range(5)]
        async with asyncio.timeout(3):
            assert [entry.sequence for entry in await waiting] == stored
        again = await writer.log.append(given.accepted(given.task_id()), after=0)
        assert [entry.sequence for entry in await reader.next(3.0)] == [again]


async def test_a_lingering_reader_does_not_linger_over_a_backlog(ground: Any, given: Any, collect: Any) -> None:
    async with ground.bus() as bus:
        stored = await asyncio.gather(*(bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(60)))
        async with bus.log.read(0, batch=7, linger_s=1.0) as reader, asyncio.timeout(3):
            assert [entry.sequence for entry in await collect(reader, 60)] == sorted(stored)


async def test_follow_replays_then_goes_live_and_ends_with_the_task(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as writer, ground.bus() as bus:
        first = await writer.log.append(given.accepted(task_id), after=0)
        await writer.log.append(given.accepted(given.task_id()), after=0)
        following = asyncio.create_task(_follow(bus, given.tenant_id, task_id))
        await asyncio.sleep(0.1)
        second = await writer.log.append(given.routed(task_id), after=first)
        await writer.log.append(given.accepted(given.task_id()), after=0)
        third = await writer.log.append(given.ended(task_id), after=second)
        entries = await following
    assert [entry.sequence for entry in entries] == [first, second, third]
    assert [entry.event().event for entry in entries] == ["accepted", "routed", "ended"]
    assert [entry.subject.split(".")[2] for entry in entries] == ["accepted", "routed", "ended"]


async def test_follow_has_neither_gap_nor_repeat_wherever_it_joins(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with AsyncExitStack() as stack:
        writer, bus = [await stack.enter_async_context(ground.bus()) for _ in range(2)]
        following = []
        position, stored = 0, []
        for number in range(30):
            event = given.ended(task_id) if number == 29 else given.routed(task_id, number=number)
            following.append(asyncio.create_task(_follow(bus, given.tenant_id, task_id)))
            position = await writer.log.append(event, after=position)
            stored.append(position)
        for entries in await asyncio.gather(*following):
            assert [entry.sequence for entry in entries] == stored


async def test_follow_of_an_ended_task_replays_and_ends(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.ended(task_id), after=first)
        assert [entry.sequence for entry in await _follow(bus, given.tenant_id, task_id)] == [first, second]


async def test_follow_after_a_position_leaves_out_what_was_seen(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.routed(task_id), after=first)
        third = await bus.log.append(given.ended(task_id), after=second)
        entries = await _follow(bus, given.tenant_id, task_id, after=first)
    assert [entry.sequence for entry in entries] == [second, third]


async def test_follow_after_the_end_ends_at_once(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.ended(task_id), after=first)
        assert await _follow(bus, given.tenant_id, task_id, after=second) == []


async def test_follow_waits_for_a_task_that_is_yet_to_come(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        following = asyncio.create_task(_follow(bus, given.tenant_id, task_id))
        await asyncio.sleep(0.05)
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.ended(task_id), after=first)
        assert [entry.sequence for entry in await following] == [first, second]


async def test_follow_can_be_left_early(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        async with aclosing(bus.log.follow(given.tenant_id, task_id)) as entries:
            assert (await anext(entries)).sequence == first
        assert await bus.log.append(given.ended(task_id), after=first) > first


async def test_the_live_feed_brings_what_was_stored_as_it_was_stored(ground: Any, given: Any, eventually: Any) -> None:
    task_id = given.task_id()
    seen: list[tuple[TenantId, TaskId, bytes]] = []
    async with ground.bus() as writer, ground.bus() as bus:
        before = await writer.log.append(given.accepted(given.task_id()), after=0)
        await writer.log.append(changed(given.ended(given.task_id()), task_id="x"), after=0)
        async with bus.log.live("ended", lambda *message: seen.append(message)):
            first = await writer.log.append(given.accepted(task_id), after=0)
            ended = given.ended(task_id)
            await writer.log.append(ended, after=first)
            await eventually(lambda: seen)
        await writer.log.append(given.ended(given.task_id()), after=0)
        entry = await bus.log.last(given.tenant_id, task_id)
    assert entry is not None
    assert before < first
    (message,) = seen
    assert message == (given.tenant_id, task_id, entry.data)
    assert entry.subject == f"aion.task.ended.completed.{given.tenant_id}.{task_id}"


async def test_the_live_feed_never_shows_a_refused_append(ground: Any, given: Any, eventually: Any) -> None:
    task_ids = [given.task_id() for _ in range(20)]
    seen: list[bytes] = []
    async with ground.bus() as one, ground.bus() as two, one.log.live("ended", lambda _, __, data: seen.append(data)):
        starts = {id_: await one.log.append(given.accepted(id_), after=0) for id_ in task_ids}
        ends = [(bus, given.ended(id_)) for id_ in task_ids for bus in (one, two)]
        results = await asyncio.gather(
            *(bus.log.append(end, after=starts[end.task_id]) for bus, end in ends), return_exceptions=True
        )
        won = sorted(encode(end) for (_, end), result in zip(ends, results, strict=True) if isinstance(result, int))
        await eventually(lambda: len(seen) >= len(task_ids))
        await one.log.info()
    assert sorted(seen) == won
    assert len(won) == len(task_ids)


@pytest.mark.parametrize("taken", ["accepted", "routed"])
async def test_the_live_feed_brings_one_kind_only(ground: Any, given: Any, eventually: Any, taken: str) -> None:
    seen: list[str] = []
    task_id = given.task_id()
    async with ground.bus() as bus, bus.log.live(taken, lambda _, __, data: seen.append(read_head(data).event)):
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.routed(task_id), after=first)
        await bus.log.append(given.ended(task_id), after=second)
        await eventually(lambda: seen)
        await bus.log.info()
    assert seen == [taken]


async def _follow(bus: Any, tenant_id: str, task_id: str, after: int = 0) -> list[Entry]:
    async with asyncio.timeout(8):
        return [entry async for entry in bus.log.follow(tenant_id, task_id, after=after)]
