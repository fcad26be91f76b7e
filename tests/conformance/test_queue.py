"""The work queue: named cursors on the log, shared by all that open them."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bus.port import TakerStopped
from bus.subjects import Cursor, accepted, attempt_failed, routed
from schemas.task import Priority

ACK_WAIT_S = 0.6
CURSOR = replace(accepted(Priority.NORMAL), ack_wait_s=ACK_WAIT_S)


async def test_what_was_accepted_before_anyone_came_is_delivered(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        stored = await _append(bus, given, 5)
        async with bus.queue.take(CURSOR, slots=8) as taker:
            deliveries = [await _get(taker) for _ in range(5)]
            assert [delivery.entry.sequence for delivery in deliveries] == stored
            assert [delivery.delivered for delivery in deliveries] == [1] * 5
            for delivery in deliveries:
                await delivery.done()
            assert await _nothing_comes(taker)


async def test_a_delivery_holds_the_whole_entry(ground: Any, given: Any) -> None:
    event = given.accepted(given.task_id(), text="hello")
    async with ground.bus() as bus, bus.queue.take(CURSOR, slots=1) as taker:
        sequence = await bus.log.append(event, after=0)
        entry = (await _get(taker)).entry
        assert (entry.sequence, entry.event()) == (sequence, event)
        assert entry == await bus.log.last(given.tenant_id, event.task_id)


async def test_a_cursor_delivers_only_what_it_filters(ground: Any, given: Any) -> None:
    high, engine = accepted(Priority.HIGH), routed("wasm", Priority.NORMAL)
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.routed(task_id), after=first)
        third = await bus.log.append(given.accepted(given.task_id(), priority=Priority.HIGH), after=0)
        async with (
            bus.queue.take(CURSOR, slots=4) as normal_taker,
            bus.queue.take(high, slots=4) as high_taker,
            bus.queue.take(engine, slots=4) as engine_taker,
            bus.queue.take(attempt_failed(Priority.NORMAL), slots=4) as failed_taker,
        ):
            assert (await _get(normal_taker)).entry.sequence == first
            assert (await _get(engine_taker)).entry.sequence == second
            assert (await _get(high_taker)).entry.sequence == third
            assert await _nothing_comes(failed_taker)
            assert await _nothing_comes(normal_taker)


async def test_a_taker_holds_no_more_than_its_slots(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        stored = await _append(bus, given, 5)
        async with bus.queue.take(CURSOR, slots=2) as taker:
            one, two = await _get(taker), await _get(taker)
            assert await _nothing_comes(taker)
            await one.done()
            three = await _get(taker)
            assert await _nothing_comes(taker)
            assert [d.entry.sequence for d in (one, two, three)] == stored[:3]


async def test_what_was_done_never_comes_again(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        await _append(bus, given, 3)
        async with bus.queue.take(CURSOR, slots=3) as taker:
            for _ in range(3):
                await (await _get(taker)).done()
            await asyncio.sleep(ACK_WAIT_S * 2)
            assert await _nothing_comes(taker)
        async with bus.queue.take(CURSOR, slots=3) as taker:
            assert await _nothing_comes(taker)


async def test_given_back_it_comes_again_and_is_counted(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        (sequence,) = await _append(bus, given, 1)
        async with bus.queue.take(CURSOR, slots=1) as taker:
            for count in (1, 2, 3):
                delivery = await _get(taker)
                assert (delivery.entry.sequence, delivery.delivered) == (sequence, count)
                await delivery.give_back()
            assert (await _get(taker)).delivered == 4


async def test_given_back_with_a_delay_it_comes_after_it_and_frees_the_slot(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        one, two = await _append(bus, given, 2)
        async with bus.queue.take(CURSOR, slots=1) as taker:
            loop = asyncio.get_running_loop()
            await (await _get(taker)).give_back(0.4)
            begun = loop.time()
            other = await _get(taker)
            assert other.entry.sequence == two
            assert loop.time() - begun < 0.3
            await other.done()
            again = await _get(taker)
            assert (again.entry.sequence, again.delivered) == (one, 2)
            assert loop.time() - begun >= 0.35


async def test_what_a_dead_taker_held_goes_to_another(ground: Any, given: Any) -> None:
    async with ground.bus() as survivor, ground.bus() as victim:
        stored = await _append(survivor, given, 3)
        async with victim.queue.take(CURSOR, slots=3) as dying:
            held = [await _get(dying) for _ in range(3)]
            await ground.kill(victim)
            async with survivor.queue.take(CURSOR, slots=3) as taker:
                assert await _nothing_comes(taker)
                again = [await _get(taker) for _ in range(3)]
                assert [d.entry.sequence for d in again] == [d.entry.sequence for d in held] == stored
                assert [d.delivered for d in again] == [2, 2, 2]


async def test_progress_keeps_a_slow_delivery(ground: Any, given: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        await _append(one, given, 1)
        async with one.queue.take(CURSOR, slots=1) as slow, two.queue.take(CURSOR, slots=1) as idle:
            getting = [asyncio.create_task(slow.get()), asyncio.create_task(idle.get())]
            done, waiting = await asyncio.wait(getting, return_when=asyncio.FIRST_COMPLETED, timeout=5)
            (held,), (still,) = done, waiting
            await asyncio.sleep(ACK_WAIT_S * 3)
            assert not still.done()
            await held.result().done()
            still.cancel()
            await asyncio.gather(still, return_exceptions=True)


async def test_max_ack_pending_bounds_all_takers_together(ground: Any, given: Any) -> None:
    cursor = replace(CURSOR, max_ack_pending=3)
    async with ground.bus() as one, ground.bus() as two:
        await _append(one, given, 10)
        async with one.queue.take(cursor, slots=8) as first, two.queue.take(cursor, slots=8) as second:
            getting = {asyncio.create_task(taker.get()) for taker in (first, second) for _ in range(5)}
            await asyncio.sleep(0.4)
            done = [task.result() for task in getting if task.done()]
            assert len(done) == 3
            await done[0].done()
            await asyncio.sleep(0.3)
            assert sum(task.done() for task in getting) == 4
            for task in getting:
                task.cancel()
            await asyncio.gather(*getting, return_exceptions=True)


async def test_takers_share_and_nothing_is_delivered_twice(ground: Any, given: Any, eventually: Any) -> None:
    taken: dict[str, list[int]] = {"one": [], "two": []}

    async def work(name: str, bus: Any) -> None:
        async with bus.queue.take(CURSOR, slots=4) as taker:
            while True:
                delivery = await taker.get()
                taken[name].append(delivery.entry.sequence)
                await asyncio.sleep(0.002)
                await delivery.done()

    async with ground.bus() as one, ground.bus() as two:
        workers = [asyncio.create_task(work("one", one)), asyncio.create_task(work("two", two))]
        stored = await _append(one, given, 100)
        await eventually(lambda: len(taken["one"]) + len(taken["two"]) == 100)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(taken["one"] + taken["two"]) == stored
    assert taken["one"]
    assert taken["two"]


async def test_stop_gives_back_what_was_not_handed_out(ground: Any, given: Any) -> None:
    long_wait = replace(CURSOR, ack_wait_s=30.0)
    async with ground.bus() as one, ground.bus() as two:
        stored = await _append(one, given, 4)
        async with one.queue.take(long_wait, slots=4) as stopping, two.queue.take(long_wait, slots=4) as taker:
            held = await _either(stopping, taker)
            await asyncio.sleep(0.2)
            await stopping.stop()
            await stopping.stop()
            with pytest.raises(TakerStopped):
                await stopping.get()
            got = {held.entry.sequence}
            await held.done()
            while len(got) < 4:
                delivery = await _get(taker)
                got.add(delivery.entry.sequence)
                await delivery.done()
    assert sorted(got) == stored


async def test_nothing_is_delivered_to_a_taker_after_its_stop(ground: Any, given: Any) -> None:
    long_wait = replace(CURSOR, ack_wait_s=30.0)
    async with ground.bus() as one, ground.bus() as two, one.queue.take(long_wait, slots=8) as stopping:
        await asyncio.sleep(0.1)
        await stopping.stop()
        stored = await _append(two, given, 3)
        async with two.queue.take(long_wait, slots=8) as taker:
            assert [(await _get(taker)).entry.sequence for _ in range(3)] == stored


async def test_what_was_given_back_at_stop_goes_to_another_at_once(ground: Any, given: Any) -> None:
    long_wait = replace(CURSOR, ack_wait_s=30.0)
    async with ground.bus() as one, ground.bus() as two, one.queue.take(long_wait, slots=8) as stopping:
        stored = await _append(two, given, 4)
        await asyncio.sleep(0.2)
        await stopping.stop()
        async with two.queue.take(long_wait, slots=8) as taker:
            assert sorted([(await _get(taker)).entry.sequence for _ in range(4)]) == stored


async def test_stop_wakes_a_get_that_waits(ground: Any) -> None:
    async with ground.bus() as bus, bus.queue.take(CURSOR, slots=1) as taker:
        getting = asyncio.create_task(taker.get())
        await asyncio.sleep(0.05)
        await taker.stop()
        with pytest.raises(TakerStopped):
            async with asyncio.timeout(3):
                await getting


async def test_a_delivery_held_at_stop_can_still_be_done(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        await _append(bus, given, 1)
        async with bus.queue.take(CURSOR, slots=1) as taker:
            delivery = await _get(taker)
            await taker.stop()
            await delivery.done()
        async with bus.queue.take(CURSOR, slots=1) as taker:
            await asyncio.sleep(ACK_WAIT_S * 1.5)
            assert await _nothing_comes(taker)


async def test_a_delivery_held_after_stop_is_still_kept_alive(ground: Any, given: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        await _append(one, given, 1)
        async with one.queue.take(CURSOR, slots=1) as draining:
            delivery = await _get(draining)
            await draining.stop()
            async with two.queue.take(CURSOR, slots=1) as taker:
                getting = asyncio.create_task(taker.get())
                await asyncio.sleep(ACK_WAIT_S * 3)
                assert not getting.done()
                await delivery.done()
                getting.cancel()
                await asyncio.gather(getting, return_exceptions=True)


async def test_leaving_gives_back_what_is_unanswered_at_once(ground: Any, given: Any) -> None:
    long_wait = replace(CURSOR, ack_wait_s=30.0)
    async with ground.bus() as bus:
        (sequence,) = await _append(bus, given, 1)
        async with bus.queue.take(long_wait, slots=1) as taker:
            await _get(taker)
        async with bus.queue.take(long_wait, slots=1) as taker:
            again = await _get(taker)
            assert (again.entry.sequence, again.delivered) == (sequence, 2)


async def test_a_cancelled_get_loses_nothing(ground: Any, given: Any) -> None:
    async with ground.bus() as bus, bus.queue.take(CURSOR, slots=2) as taker:
        for _ in range(5):
            getting = asyncio.create_task(taker.get())
            await asyncio.sleep(0.01)
            getting.cancel()
            await asyncio.gather(getting, return_exceptions=True)
        stored = await _append(bus, given, 2)
        assert [(await _get(taker)).entry.sequence for _ in range(2)] == stored


async def test_pending_counts_what_nobody_was_given(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        await _append(bus, given, 6)
        assert await bus.queue.pending(CURSOR) == 6
        async with bus.queue.take(CURSOR, slots=2) as taker:
            held = [await _get(taker), await _get(taker)]
            assert await bus.queue.pending(CURSOR) == 4
            for delivery in held:
                await delivery.done()
        assert await bus.queue.pending(CURSOR) <= 4


async def test_the_backlog_is_all_that_no_work_cursor_has_answered(ground: Any, given: Any) -> None:
    shadow, high = Cursor("shadow", CURSOR.filter), accepted(Priority.HIGH)
    async with ground.bus() as bus, ground.bus() as other:
        assert await bus.queue.backlog() == 0
        await _append(bus, given, 6)
        await bus.log.append(given.accepted(given.task_id(), priority=Priority.HIGH), after=0)
        async with bus.queue.take(CURSOR, slots=2) as taker, bus.queue.take(shadow, slots=1):
            held = [await _get(taker), await _get(taker)]
            assert await other.queue.backlog() == 6, "a cursor that nobody opened yet is not known"
            async with other.queue.take(high, slots=1), other.log.read(0):
                assert await other.queue.backlog() == 7
                await held[0].done()
                await held[1].give_back(30.0)
                await _get(taker)
                await asyncio.sleep(0.1)
                assert await other.queue.backlog() == 6


async def test_cursors_of_two_names_each_see_everything(ground: Any, given: Any) -> None:
    other = Cursor("shadow-accepted-normal", CURSOR.filter)
    async with ground.bus() as bus:
        stored = await _append(bus, given, 2)
        async with bus.queue.take(CURSOR, slots=2) as one, bus.queue.take(other, slots=2) as two:
            assert [(await _get(one)).entry.sequence for _ in range(2)] == stored
            assert [(await _get(two)).entry.sequence for _ in range(2)] == stored


async def _append(bus: Any, given: Any, count: int) -> list[int]:
    return [await bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(count)]


async def _get(taker: Any) -> Any:
    async with asyncio.timeout(5):
        return await taker.get()


async def _either(one: Any, two: Any) -> Any:
    """The first delivery of two takers; the other get is withdrawn."""
    getting = [asyncio.create_task(one.get()), asyncio.create_task(two.get())]
    done, waiting = await asyncio.wait(getting, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    first, *others = [task.result() for task in [*done, *(t for t in waiting if not t.cancelled())]]
    for other in others:
        await other.give_back()
    return first


async def _nothing_comes(taker: Any) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await taker.get()
    except TimeoutError:
        return True
    return False
