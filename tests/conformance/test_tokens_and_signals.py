"""What is not kept for good: token deltas and control signals."""

import asyncio
from typing import Any

from bus.subjects import CANCEL_ALL, cancel, drain


async def test_deltas_arrive_in_order(ground: Any, given: Any, collect: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as writer, ground.bus() as bus, bus.tokens.follow(given.tenant_id, task_id) as reader:
        for number in range(50):
            await writer.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        found = await collect(reader, 50)
    assert [entry.data for entry in found] == [f"{number}".encode() for number in range(50)]
    sequences = [entry.sequence for entry in found]
    assert sequences == sorted(set(sequences))


async def test_deltas_that_came_before_the_follower_are_replayed(ground: Any, given: Any, collect: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        for number in range(10):
            await bus.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        async with bus.tokens.follow(given.tenant_id, task_id) as reader:
            assert [entry.data for entry in await collect(reader, 10)] == [f"{n}".encode() for n in range(10)]
            await bus.tokens.publish(given.tenant_id, task_id, b"live")
            assert [entry.data for entry in await collect(reader, 1)] == [b"live"]


async def test_a_client_that_comes_back_misses_no_delta(ground: Any, given: Any, collect: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        for number in range(10):
            await bus.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        async with bus.tokens.follow(given.tenant_id, task_id) as reader:
            seen = await collect(reader, 10)
        async with bus.tokens.follow(given.tenant_id, task_id, after=seen[3].sequence) as reader:
            assert [entry.data for entry in await collect(reader, 6)] == [f"{n}".encode() for n in range(4, 10)]
            assert list(await reader.next(0.05)) == []


async def test_a_follower_sees_its_own_task_only(ground: Any, given: Any, collect: Any) -> None:
    mine, other = given.task_id(), given.task_id()
    async with ground.bus() as bus, bus.tokens.follow(given.tenant_id, mine) as reader:
        await bus.tokens.publish(given.tenant_id, other, b"other task")
        await bus.tokens.publish("globex", mine, b"other tenant")
        await bus.tokens.publish(given.tenant_id, mine, b"mine")
        assert [entry.data for entry in await collect(reader, 1)] == [b"mine"]
        assert list(await reader.next(0.1)) == []


async def test_two_followers_each_get_every_delta(ground: Any, given: Any, collect: Any) -> None:
    task_id = given.task_id()
    async with (
        ground.bus() as bus,
        bus.tokens.follow(given.tenant_id, task_id) as one,
        bus.tokens.follow(given.tenant_id, task_id) as two,
    ):
        for data in (b"a", b"b"):
            await bus.tokens.publish(given.tenant_id, task_id, data)
        assert [entry.data for entry in await collect(one, 2)] == [b"a", b"b"]
        assert [entry.data for entry in await collect(two, 2)] == [b"a", b"b"]


async def test_signals_reach_all_who_listen_and_match(ground: Any, given: Any, eventually: Any) -> None:
    task_id = given.task_id()
    every: list[str] = []
    mine: list[str] = []
    async with (
        ground.bus() as one,
        ground.bus() as two,
        one.signals.listen(CANCEL_ALL, every.append),
        two.signals.listen(cancel(given.tenant_id, task_id), mine.append),
    ):
        await one.signals.send(drain("router"))
        await one.signals.send(cancel(given.tenant_id, given.task_id()))
        await two.signals.send(cancel(given.tenant_id, task_id))
        await eventually(lambda: len(every) == 2 and len(mine) == 1)
    assert mine == [cancel(given.tenant_id, task_id)]
    assert set(mine) < set(every)


async def test_who_stopped_listening_hears_nothing(ground: Any, eventually: Any) -> None:
    gone: list[str] = []
    here: list[str] = []
    async with ground.bus() as bus:
        async with bus.signals.listen("aion.ctl.>", gone.append):
            pass
        async with bus.signals.listen("aion.ctl.drain.*", here.append):
            await bus.signals.send(drain("router"))
            await eventually(lambda: here)
    assert (gone, here) == ([], [drain("router")])


async def test_a_listener_hears_from_the_moment_it_listens(ground: Any) -> None:
    heard = asyncio.Event()
    async with ground.bus() as one, ground.bus() as two, one.signals.listen("aion.ctl.>", lambda _: heard.set()):
        await two.signals.send(drain("edge"))
        async with asyncio.timeout(3):
            await heard.wait()


async def test_a_bus_is_connected_until_it_is_gone(ground: Any, eventually: Any) -> None:
    async with ground.bus() as survivor, ground.bus() as victim:
        assert victim.connected
        await ground.kill(victim)
        await eventually(lambda: not victim.connected)
        assert survivor.connected
