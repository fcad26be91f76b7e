"""One stream out of events and deltas: in order, each once, and a hole is always told."""

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import AsyncMock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.memory import MemoryBus, MemoryServer
from edge.tasks.bookmark import START, Bookmark, read_bookmark
from edge.tasks.deltas import MAX_DELTAS, Deltas, missing
from edge.tasks.following import LOOK_S, Following, follow
from edge.tasks.items import Finished, Happened, Item, Missed, Said, told
from schemas.delta import RUN, Delta, first_number
from schemas.errors import InvalidRequest, NoResponders, Unavailable
from schemas.events import Accepted, AttemptFailed, Ended, Routed
from schemas.ids import EventId, TaskId, TenantId
from schemas.message import changed, encode

TENANT, TASK = TenantId("acme"), TaskId("t-1")


class World:
    """A task of which every step is taken by hand; the log's sequences are 1, 2, 3 ..."""

    def __init__(self, events: dict[str, Any]) -> None:
        self.server = MemoryServer()
        self.bus, self.edge = MemoryBus(self.server), MemoryBus(self.server)
        self._events = events
        self.last = 0

    async def step(self, name: str) -> int:
        event: Accepted | Routed | AttemptFailed | Ended = self._events[name]
        self.last = await self.bus.log.append(changed(event, event_id=EventId(f"e{self.last}")), after=self.last)
        return self.last

    async def say(self, *numbers: int, lease: int = 2) -> None:
        for number in numbers:
            delta = Delta(lease=lease, number=number, text=f"{number % RUN} ")
            await self.bus.tokens.publish(TENANT, TASK, encode(delta))

    def follow(self, after: Bookmark = START) -> Any:
        return follow(self.edge, TENANT, TASK, after)


@pytest.fixture
async def world(every_event: dict[str, Any]) -> World:
    return World(every_event)


async def some(following: Following, count: int) -> list[Item]:
    found: list[Item] = []
    while len(found) < count:
        item = await following.next(1.0)
        assert item is not None, found
        found.append(item)
    return found


async def rest(following: Following) -> list[Item]:
    async with asyncio.timeout(3):
        return [item async for item in following]


def names(items: list[Item]) -> list[tuple[str, str]]:
    return [(str(item.mark), told(item)[0]) for item in items]


async def test_text_stands_between_the_event_it_answers_and_the_next(world: World) -> None:
    await world.step("accepted")
    async with world.follow() as following:
        await world.step("routed")
        await world.say(1, 2)
        found = await some(following, 3)
        await world.say(3)
        found += await some(following, 1)
        await world.step("ended")
        found += await rest(following)
    assert names(found) == [("1", "accepted"), ("2", "routed"), ("2.2", "partial"), ("2.3", "token"), ("3", "done")]
    assert found[2] == Said(Bookmark(2, 2), "1 2 ", True)


async def test_a_stream_that_comes_late_gets_the_text_so_far_as_one(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    await world.say(1, 2, 3)
    async with world.follow() as following:
        assert names(await some(following, 3))[2] == ("2.3", "partial")
        await world.say(4)
        assert await some(following, 1) == [Said(Bookmark(2, 4), "4 ", False)]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_reader_that_comes_back_misses_and_repeats_nothing(world: World, ended: bool) -> None:
    await world.step("accepted")
    await world.step("routed")
    await world.say(1, 2, 3, 4, 5)
    if ended:
        await world.step("ended")
    async with world.follow(Bookmark(2, 3)) as following:
        assert await some(following, 1) == [Said(Bookmark(2, 5), "4 5 ", False)]
        if not ended:
            await world.step("ended")
        assert names(await rest(following)) == [("3", "done")]


async def test_a_task_that_has_ended_is_told_by_its_events_and_its_result(world: World) -> None:
    for name in ("accepted", "routed"):
        await world.step(name)
    await world.say(1)
    await world.step("ended")
    async with world.follow() as following:
        assert names(await rest(following)) == [("1", "accepted"), ("2", "routed"), ("3", "done")]


async def test_the_text_of_an_attempt_that_was_given_up_is_told_from_the_next(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    async with world.follow(Bookmark(1)) as following:
        await world.say(1)
        found = await some(following, 2)
        await world.step("attempt_failed")
        await world.step("routed")
        found += await some(following, 2)
        await world.say(2)  # the first attempt is not quite dead
        await world.say(1, lease=4)
        found += await some(following, 1)
    assert names(found)[1:] == [("2.1", "partial"), ("3", "attempt_failed"), ("4", "routed"), ("4.1", "partial")]


async def test_a_second_run_of_the_same_attempt_takes_the_place_of_the_first(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    again = first_number(2)
    async with world.follow(Bookmark(2)) as following:
        await world.say(1, 2)
        assert await some(following, 1) == [Said(Bookmark(2, 2), "1 2 ", True)]
        await world.say(again)
        assert await some(following, 1) == [Said(Bookmark(2, again), "1 ", True)]
        await world.say(3)  # the stalled first run wakes up
        await world.say(again + 1)
        assert await some(following, 1) == [Said(Bookmark(2, again + 1), "2 ", False)]


async def test_tokens_that_the_server_lost_are_a_gap_and_never_silence(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    await world.say(1, 2, 3, 4)
    world.server.tokens.lose()
    await world.say(5, 6)
    async with world.follow(Bookmark(2, 2)) as following:
        assert await some(following, 2) == [Missed(Bookmark(2, 4), 2), Said(Bookmark(2, 6), "5 6 ", False)]


async def test_deltas_that_only_the_wire_lost_are_read_again(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    async with world.follow(Bookmark(2)) as following:
        await world.say(1)
        await some(following, 1)
        world.edge.lose()
        await world.say(2, 3)
        world.edge.restore()
        await world.say(4)
        assert await some(following, 1) == [Said(Bookmark(2, 4), "2 3 4 ", False)]


async def test_a_reader_that_pauses_is_held_little_for_and_misses_nothing(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    async with world.follow(Bookmark(2)) as following:
        for number in range(1, 501):
            await world.say(number)
        await asyncio.sleep(0)
        assert len(following._deltas._waiting) <= MAX_DELTAS
        await world.step("ended")
        found = await rest(following)
    assert [item for item in found if isinstance(item, Missed)] == []
    text = "".join(item.text for item in found if isinstance(item, Said))
    assert text == "".join(f"{number} " for number in range(1, 501))
    assert found[-1].mark == Bookmark(3)


async def test_a_hole_before_a_full_house_is_filled(world: World) -> None:
    await world.step("accepted")
    await world.step("routed")
    async with world.follow(Bookmark(2)) as following:
        world.edge.lose()
        await world.say(1)
        world.edge._link._away = False  # deaf for a moment, without a reconnect that would be noticed
        await world.say(*range(2, 100))
        await world.step("ended")
        text = "".join(item.text for item in await rest(following) if isinstance(item, Said))
    assert text == "".join(f"{number} " for number in range(1, 100))


@pytest.mark.parametrize(("lost", "mark"), [(range(1, 11), 0), ((11,), 5)], ids=["the first ten", "one of them"])
async def test_a_hole_costs_what_lies_in_it_and_nothing_behind_it(world: World, lost: Sequence[int], mark: int) -> None:
    await world.step("accepted")
    await world.step("routed")
    await world.say(*(number for number in range(1, 301) if number not in lost))
    async with world.follow(Bookmark(2, mark)) as following:
        await world.step("ended")
        found = await rest(following)
    assert [item.deltas for item in found if isinstance(item, Missed)] == [len(lost)]
    text = "".join(item.text for item in found if isinstance(item, Said))
    assert text == "".join(f"{number} " for number in range(mark + 1, 301) if number not in lost)


async def test_an_event_waits_while_the_text_before_it_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.step("accepted")
    await world.step("routed")
    await world.say(1, 2)
    unreadable = AsyncMock(side_effect=Unavailable("no token can be read"))
    async with world.follow(Bookmark(2)) as following:
        await world.step("ended")
        with monkeypatch.context() as patch:
            patch.setattr(world.edge.tokens, "kept", unreadable)
            assert await following.next(0) is None
            assert unreadable.await_count == 1
        assert names(await rest(following)) == [("2.2", "partial"), ("3", "done")]


async def test_a_short_absence_of_the_bus_is_waited_for_however_long_ago_the_log_was_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.step("accepted")
    async with world.follow() as following:
        assert names(await some(following, 1)) == [("1", "accepted")]
        assert await following.next(0) is None
        monkeypatch.setattr("edge.tasks.following.PATIENCE_S", 0.05)
        await asyncio.sleep(0.1)
        world.edge.lose()
        following.stir()
        assert await following.next(0) is None
        world.edge.restore()
        await world.step("routed")
        assert names(await some(following, 1)) == [("2", "routed")]


async def test_an_end_that_comes_while_the_log_is_read_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.step("accepted")
    async with world.follow() as following:
        assert names(await some(following, 1)) == [("1", "accepted")]
        await world.step("routed")
        read = world.edge.log.events

        async def late(*task: Any, after: int) -> Any:
            found = await read(*task, after=after)
            monkeypatch.undo()
            await world.say(1)
            await world.step("ended")
            return found

        monkeypatch.setattr(world.edge.log, "events", late)
        async with asyncio.timeout(LOOK_S / 2):
            found = await rest(following)
    assert names(found) == [("2", "routed"), ("2.1", "partial"), ("3", "done")]


async def test_a_log_that_cannot_be_read_for_long_ends_the_stream_with_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.step("accepted")
    monkeypatch.setattr("edge.tasks.following.PATIENCE_S", 0.0)
    async with world.follow() as following:
        world.edge.lose()
        with pytest.raises(Unavailable):
            await following.next(1.0)


async def test_a_task_that_nobody_knows_is_not_followed(world: World) -> None:
    with pytest.raises(NoResponders):  # the log has none of it, and no ledger is there to ask
        async with world.follow():
            pass


async def test_a_delta_that_was_just_on_its_way_is_found_without_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stores what it passes on a moment later: too early for the subscription, too late for the replay."""
    monkeypatch.setattr("edge.tasks.following.LOOK_S", 0.01)
    await world.step("accepted")
    await world.step("routed")
    async with world.follow(Bookmark(2)) as following:
        assert await following.next(0) is None
        world.edge._link._away = True
        await world.say(1)
        world.edge._link._away = False
        assert await some(following, 1) == [Said(Bookmark(2, 1), "1 ", True)]


async def test_who_leaves_waits_no_longer(world: World) -> None:
    await world.step("accepted")
    async with world.follow(Bookmark(1)) as following:
        waiting = asyncio.create_task(following.next(60))
        await asyncio.sleep(0)
        following.leave()
        assert await waiting is None


async def test_nothing_is_read_for_a_stream_that_only_waits_to_be_stirred(world: World) -> None:
    await world.step("accepted")
    async with world.follow() as following:
        assert names(await some(following, 1)) == [("1", "accepted")]
        assert await following.next(0) is None
        stirred = asyncio.create_task(following.stirred())
        await asyncio.sleep(0)
        assert not stirred.done()
        await world.step("routed")
        await stirred
        assert not following._events
        assert isinstance(await following.next(0), Happened)


def test_bookmarks_are_read_as_they_were_given_out() -> None:
    for mark in (Bookmark(17), Bookmark(17, 3)):
        assert read_bookmark(str(mark)) == mark
    assert read_bookmark(None) == read_bookmark("0") == START
    for text in ("-1", "1e3", "٣", "9" * 19, "1.", ".1", "1.2.3", " 1"):
        with pytest.raises(InvalidRequest):
            read_bookmark(text)


@given(st.permutations(range(1, 41)), st.integers(0, 40))
def test_deltas_come_out_in_order_and_once_however_they_came_in(numbers: list[int], seen: int) -> None:
    deltas, mark, text = Deltas(), Bookmark(2, seen), ""
    for number in [*numbers, *numbers[:20]]:
        assert deltas.add(Delta(lease=2, number=number, text=f"{number} "))
        while said := deltas.take(mark):
            mark, text = said.mark, text + said.text
    assert text == "".join(f"{number} " for number in range(seen + 1, 41))
    assert mark == Bookmark(2, 40)


def test_what_is_missing_is_counted_within_its_run() -> None:
    assert missing(Bookmark(2, 3), Bookmark(2, 7)) == 3
    assert missing(Bookmark(2), Bookmark(2, 4)) == 3
    assert missing(Bookmark(2, 5), Bookmark(2, first_number(2) + 2)) == 2


def test_the_end_is_told_by_its_result() -> None:
    assert told(Finished(Bookmark(3), b"{}")) == ("done", b"{}")
    assert told(Missed(Bookmark(3, RUN + 4), 2)) == ("gap", b'{"attempt":3,"run":2,"missing":2}')
