"""Faults that only the twin can cause on demand, and what the port promises then."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from bus.memory import MemoryBus, MemoryServer
from bus.subjects import accepted
from schemas.errors import BusDisconnected, Unavailable, WrongSequence
from schemas.ids import TaskId
from schemas.task import Priority


async def test_an_append_whose_ack_was_lost_is_not_doubled_by_a_retry(given: Any) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    event = given.accepted(given.task_id())
    server.lose_next_ack()
    with pytest.raises(Unavailable):
        await bus.log.append(event, after=0, timeout_s=0.01)
    assert await bus.log.append(event, after=0) == 1
    assert (await bus.log.info()).last == 1


async def test_who_lost_the_race_while_its_ack_was_lost_learns_so(given: Any) -> None:
    server = MemoryServer()
    one, two = MemoryBus(server), MemoryBus(server)
    task_id = given.task_id()
    mine, theirs = given.accepted(task_id), given.accepted(task_id)
    server.lose_next_ack()
    with pytest.raises(Unavailable):
        await one.log.append(mine, after=0, timeout_s=0.01)
    with pytest.raises(WrongSequence):
        await two.log.append(theirs, after=0)
    assert await one.log.append(mine, after=0) == 1


async def test_a_killed_connection_refuses_everything_and_says_so(given: Any) -> None:
    bus = MemoryBus(MemoryServer())
    async with bus.log.read(0) as reader, bus.queue.take(accepted(Priority.LOW), slots=1) as taker:
        waiting = [asyncio.create_task(reader.next(60)), asyncio.create_task(taker.get())]
        closed = asyncio.create_task(bus.closed())
        await asyncio.sleep(0)
        bus.kill()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        await closed
    assert [type(result) for result in results] == [BusDisconnected] * 2
    assert not bus.connected
    for call in (bus.log.info(), bus.kv.get("MODULES", "x"), bus.signals.send("aion.ctl.drain.x")):
        with pytest.raises(BusDisconnected):
            await call


async def test_while_a_connection_is_away_calls_fail_and_what_waits_goes_on_afterwards(given: Any) -> None:
    server = MemoryServer()
    bus, other = MemoryBus(server), MemoryBus(server)
    heard: list[TaskId] = []
    async with (
        bus.log.read(0) as reader,
        bus.queue.take(accepted(Priority.NORMAL), slots=1) as taker,
        bus.log.live("accepted", lambda _tenant_id, task_id, _data: heard.append(task_id)),
        bus.kv.view("MODULES") as view,
    ):
        reading, taking = asyncio.create_task(reader.next(60)), asyncio.create_task(taker.get())
        bus.lose()
        await other.log.append(given.accepted(given.task_id()), after=0)
        await other.kv.put("MODULES", "one", b"1")
        await asyncio.sleep(0.01)
        assert not bus.connected
        assert not reading.done()
        assert not taking.done()
        for call in (bus.log.info(), bus.kv.get("MODULES", "one"), bus.signals.send("aion.ctl.drain.x")):
            with pytest.raises(BusDisconnected):
                await call
        bus.restore()
        entries, delivery = await reading, await taking
        await asyncio.sleep(0)
        assert [entry.sequence for entry in entries] == [1]
        assert (delivery.entry.sequence, delivery.delivered) == (1, 1)
        assert (dict(view), heard) == ({"one": b"1"}, []), "a view catches up, the live feed does not"


async def test_an_ack_sent_while_the_connection_is_away_is_lost_and_costs_a_redelivery(given: Any) -> None:
    bus = MemoryBus(MemoryServer())
    cursor = replace(accepted(Priority.NORMAL), ack_wait_s=0.03)
    await bus.log.append(given.accepted(given.task_id()), after=0)
    async with bus.queue.take(cursor, slots=1) as taker:
        delivery = await taker.get()
        bus.lose()
        await delivery.done()
        await asyncio.sleep(0.06)
        bus.restore()
        assert (await taker.get()).delivered == 2


async def test_answering_a_delivery_twice_is_an_error_of_the_caller(given: Any) -> None:
    bus = MemoryBus(MemoryServer())
    await bus.log.append(given.accepted(given.task_id()), after=0)
    async with bus.queue.take(accepted(Priority.NORMAL), slots=1) as taker:
        delivery = await taker.get()
        await delivery.done()
        with pytest.raises(RuntimeError):
            await delivery.give_back()


async def test_an_entry_trimmed_while_unanswered_is_not_delivered_again(given: Any) -> None:
    now_ns = 10**18
    server = MemoryServer(lambda: now_ns, max_age_s=10.0)
    bus = MemoryBus(server)
    cursor = replace(accepted(Priority.NORMAL), max_ack_pending=1)
    await bus.log.append(given.accepted(given.task_id()), after=0)
    async with bus.queue.take(cursor, slots=2) as taker:
        delivery = await taker.get()
        now_ns += 11 * 10**9
        second = await bus.log.append(given.accepted(given.task_id()), after=0)
        await delivery.give_back()
        assert (await taker.get()).entry.sequence == second


async def test_the_injected_clock_stamps_the_log(given: Any) -> None:
    bus = MemoryBus(MemoryServer(lambda: 1_234_567_890))
    await bus.log.append(given.accepted(given.task_id()), after=0)
    entry = (await (await _reader(bus)).next(1.0))[0]
    assert entry.at_ns == 1_234_567_890


async def _reader(bus: MemoryBus) -> Any:
    async with bus.log.read(0) as reader:
        return reader
