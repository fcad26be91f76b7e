"""What is not kept for good: token deltas and control signals."""

import asyncio
from typing import Any

from bus.subjects import CANCEL_ALL, cancel, drain


async def test_deltas_arrive_in_order(ground: Any, given: Any, eventually: Any) -> None:
    task_id = given.task_id()
    found: list[bytes] = []
    async with ground.bus() as writer, ground.bus() as bus, bus.tokens.live(given.tenant_id, task_id, found.append):
        await bus.tokens.kept(given.tenant_id, task_id)
        for number in range(50):
            await writer.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        await eventually(lambda: len(found) == 50)
    assert found == [f"{number}".encode() for number in range(50)]


async def test_what_kept_does_not_return_is_heard_live(ground: Any, given: Any, eventually: Any) -> None:
    task_id = given.task_id()
    heard: list[bytes] = []
    async with ground.bus() as bus, ground.bus() as writer:
        for number in range(10):
            await writer.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        await _stored(writer, given.tenant_id, task_id, 10)
        async with bus.tokens.live(given.tenant_id, task_id, heard.append):
            kept = await bus.tokens.kept(given.tenant_id, task_id)
            await writer.tokens.publish(given.tenant_id, task_id, b"live")
            await eventually(lambda: heard)
    assert [entry.data for entry in kept] == [f"{n}".encode() for n in range(10)]
    assert heard == [b"live"]


async def test_kept_deltas_are_read_on_from_any_of_them(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        assert await bus.tokens.kept(given.tenant_id, task_id) == ()
        for number in range(200):
            await bus.tokens.publish(given.tenant_id, task_id, f"{number}".encode())
        found: list[Any] = []
        async with asyncio.timeout(5):
            while len(found) < 200:  # what was passed on is stored a moment later
                page = await bus.tokens.kept(given.tenant_id, task_id, after=found[-1].sequence if found else 0)
                assert len(page) < 200
                found += page
    assert [entry.data for entry in found] == [f"{number}".encode() for number in range(200)]
    sequences = [entry.sequence for entry in found]
    assert sequences == sorted(set(sequences))


async def test_a_page_of_long_deltas_is_short(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        for number in range(64):
            await bus.tokens.publish(given.tenant_id, task_id, b"%d" % (number % 10) * 16_000)
        await _stored(bus, given.tenant_id, task_id, 1)
        page = await bus.tokens.kept(given.tenant_id, task_id)
    assert page
    assert sum(len(entry.data) for entry in page) <= 160_000


async def test_deltas_reach_those_of_their_own_task_only(ground: Any, given: Any, eventually: Any) -> None:
    mine, other = given.task_id(), given.task_id()
    heard: list[bytes] = []
    too: list[bytes] = []
    async with (
        ground.bus() as bus,
        bus.tokens.live(given.tenant_id, mine, heard.append),
        bus.tokens.live(given.tenant_id, mine, too.append),
    ):
        await bus.tokens.publish(given.tenant_id, other, b"other task")
        await bus.tokens.publish("globex", mine, b"other tenant")
        await bus.tokens.publish(given.tenant_id, mine, b"mine")
        await eventually(lambda: heard and too)
        assert [entry.data for entry in await _stored(bus, given.tenant_id, mine, 1)] == [b"mine"]
    assert heard == too == [b"mine"]


async def test_who_left_hears_no_more_deltas(ground: Any, given: Any, eventually: Any) -> None:
    task_id = given.task_id()
    gone: list[bytes] = []
    here: list[bytes] = []
    async with ground.bus() as bus, bus.tokens.live(given.tenant_id, task_id, here.append):
        async with bus.tokens.live(given.tenant_id, task_id, gone.append):
            pass
        await bus.tokens.publish(given.tenant_id, task_id, b"late")
        await eventually(lambda: here)
    assert (gone, here) == ([], [b"late"])


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


async def _stored(bus: Any, tenant_id: str, task_id: str, count: int) -> Any:
    """At least `count` deltas of the task: what was passed on is stored a moment later."""
    for _ in range(1000):
        kept = await bus.tokens.kept(tenant_id, task_id)
        if len(kept) >= count:
            return kept
        await asyncio.sleep(0.005)
    raise AssertionError("they were not stored")
