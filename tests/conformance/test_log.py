"""The log: one order, compare-and-set per task, and every way to look at what is stored."""

import asyncio
from typing import Any

import pytest

from bus.subjects import of_event
from schemas.errors import InvalidRequest, LogFull, PayloadTooLarge, Unavailable, WrongSequence
from schemas.ids import TaskId, TenantId
from schemas.message import changed


async def test_sequences_strictly_increase_over_all_tasks(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        sequences = [await bus.log.append(given.accepted(given.task_id()), after=0) for _ in range(20)]
    assert sequences == sorted(set(sequences))


async def test_a_task_is_appended_to_step_by_step(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        second = await bus.log.append(given.routed(task_id), after=first)
        third = await bus.log.append(given.ended(task_id), after=second)
        entries = await bus.log.events(given.tenant_id, task_id)
    assert [entry.sequence for entry in entries] == [first, second, third]
    assert [entry.event().event for entry in entries] == ["accepted", "routed", "ended"]


async def test_an_event_comes_back_as_it_was_written(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    event = given.accepted(task_id, text="grüß dich \u0000 🚌", number=1.5, nested={"a": [1, None, True]})
    async with ground.bus() as bus:
        sequence = await bus.log.append(event, after=0)
        entry = await bus.log.last(given.tenant_id, task_id)
    assert entry is not None
    assert (entry.sequence, entry.event()) == (sequence, event)
    assert entry.subject == f"aion.task.accepted.normal.{given.tenant_id}.{task_id}"
    assert entry.at_ns > 1_600_000_000 * 10**9


async def test_a_second_first_event_is_refused(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        with pytest.raises(WrongSequence):
            await bus.log.append(given.accepted(task_id), after=0)
        entries = await bus.log.events(given.tenant_id, task_id)
    assert [entry.sequence for entry in entries] == [first]


async def test_an_append_after_a_sequence_that_is_not_the_last_is_refused(ground: Any, given: Any) -> None:
    task_id, other_id = given.task_id(), given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        other = await bus.log.append(given.accepted(other_id), after=0)
        for after in (0, other, other + 1):
            with pytest.raises(WrongSequence):
                await bus.log.append(given.routed(task_id), after=after)
        assert await bus.log.append(given.routed(task_id), after=first) > other


async def test_an_append_to_a_task_that_does_not_exist_needs_zero(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        with pytest.raises(WrongSequence):
            await bus.log.append(given.routed(given.task_id()), after=17)
        assert (await bus.log.info()).last == 0


async def test_of_many_racing_writers_exactly_one_wins(ground: Any, given: Any) -> None:
    task_ids = [given.task_id() for _ in range(12)]
    async with ground.bus() as one, ground.bus() as two:
        starts = {id_: await one.log.append(given.accepted(id_), after=0) for id_ in task_ids}
        events = {id_: [given.routed(id_, writer=n) for n in range(8)] for id_ in task_ids}
        appends = [
            (one, two)[n % 2].log.append(event, after=starts[id_])
            for n in range(8)
            for id_, event in ((id_, events[id_][n]) for id_ in task_ids)
        ]
        results = await asyncio.gather(*appends, return_exceptions=True)
        won = {n: result for n, result in enumerate(results) if isinstance(result, int)}
        assert all(isinstance(r, int | WrongSequence) for r in results), results
        assert len(won) == len(task_ids)
        for id_ in task_ids:
            stored = await one.log.events(given.tenant_id, id_)
            assert [entry.event().event for entry in stored] == ["accepted", "routed"]
            assert stored[1].sequence in won.values()


async def test_the_winner_of_a_race_is_the_one_that_is_stored(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        events = [given.routed(task_id, writer=n) for n in range(40)]
        results = await asyncio.gather(
            *(bus.log.append(event, after=first) for event in events), return_exceptions=True
        )
        last = await bus.log.last(given.tenant_id, task_id)
    winners = [event for event, result in zip(events, results, strict=True) if isinstance(result, int)]
    assert last is not None
    assert [last.event()] == winners


async def test_the_same_event_appended_again_is_one_event(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    event = given.accepted(task_id)
    async with ground.bus() as one, ground.bus() as two:
        first = await one.log.append(event, after=0)
        assert await one.log.append(event, after=0) == first
        assert await two.log.append(event, after=0) == first
        assert len(await one.log.events(given.tenant_id, task_id)) == 1
        assert (await one.log.info()).last == first


async def test_the_same_event_appended_again_is_found_even_when_others_followed(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    event, routed = given.accepted(task_id), given.routed(task_id)
    async with ground.bus() as bus:
        first = await bus.log.append(event, after=0)
        second = await bus.log.append(routed, after=first)
        assert await bus.log.append(event, after=0) == first
        assert await bus.log.append(routed, after=first) == second
        assert len(await bus.log.events(given.tenant_id, task_id)) == 2


async def test_an_append_whose_answer_was_lost_is_not_stored_twice(ground: Any, given: Any) -> None:
    event, audit = given.accepted(given.task_id()), given.audit()
    async with ground.bus() as bus:
        async with ground.deaf(bus):
            with pytest.raises(Unavailable):
                await bus.log.append(event, after=0, timeout_s=0.2)
            with pytest.raises(Unavailable):
                await bus.log.audit(audit, timeout_s=0.2)
        assert [await _patiently(bus.log.append, event, after=0), await _patiently(bus.log.audit, audit)] == [1, 2]
        assert (await bus.log.info()).last == 2


async def test_many_appends_whose_answers_were_lost_are_each_stored_once(ground: Any, given: Any, collect: Any) -> None:
    """Grouped or not: those that reached the server are met again, those that did not are stored now."""
    events = [given.accepted(given.task_id()) for _ in range(40)]
    audits = [given.audit() for _ in range(40)]

    async def append_all(once: Any, **options: Any) -> list[Any]:
        appends = [once(bus.log.append, event, after=0, **options) for event in events]
        return await asyncio.gather(*appends, *(once(bus.log.audit, audit, **options) for audit in audits))

    async def unanswered(append: Any, *args: Any, **options: Any) -> None:
        with pytest.raises(Unavailable):
            await append(*args, **options)

    async with ground.bus() as bus:
        async with ground.deaf(bus):
            await append_all(unanswered, timeout_s=0.3)
        sequences = await append_all(_patiently)
        async with bus.log.read(0) as reader:
            stored = {entry.sequence: entry.event() for entry in await collect(reader, 80)}
        assert (await bus.log.info()).last == 80
    assert [stored[sequence] for sequence in sequences] == [*events, *audits]


async def test_the_same_audit_event_appended_again_is_one_event(ground: Any, given: Any) -> None:
    event, other = given.audit(), given.audit()
    async with ground.bus() as one, ground.bus() as two:
        results = await asyncio.gather(*(bus.log.audit(event) for _ in range(5) for bus in (one, two)))
        assert set(results) == {1}
        assert [await two.log.audit(other), await two.log.audit(event)] == [2, 1]
        assert (await one.log.info()).last == 2


async def test_an_audit_event_whose_id_could_widen_a_subject_is_refused(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        with pytest.raises(InvalidRequest):
            await bus.log.audit(changed(given.audit(), event_id="a.b"))


async def test_many_appends_at_once_are_all_stored_once(ground: Any, given: Any, collect: Any) -> None:
    events = [given.accepted(given.task_id()) for _ in range(400)]
    async with ground.bus() as bus:
        sequences = await asyncio.gather(*(bus.log.append(event, after=0) for event in events))
        async with bus.log.read(0) as reader:
            stored = await collect(reader, 400)
    by_sequence = {entry.sequence: entry.event() for entry in stored}
    assert sorted(sequences) == [entry.sequence for entry in stored]
    assert [by_sequence[sequence] for sequence in sequences] == events


async def test_a_chain_and_a_conflict_in_one_burst_refuse_only_the_conflict(ground: Any, given: Any) -> None:
    task_ids = [given.task_id() for _ in range(100)]
    async with ground.bus() as bus:
        taken = await bus.log.append(given.accepted(task_ids[50]), after=0)
        results = await asyncio.gather(
            *(bus.log.append(given.accepted(id_), after=0) for id_ in task_ids), return_exceptions=True
        )
        refused = [n for n, result in enumerate(results) if isinstance(result, BaseException)]
        info = await bus.log.info()
    assert refused == [50]
    assert isinstance(results[50], WrongSequence)
    assert info.last - taken == 99


async def test_one_impatient_append_does_not_spoil_the_others(ground: Any, given: Any) -> None:
    events = [given.accepted(given.task_id()) for _ in range(200)]
    async with ground.bus() as bus:
        results = await asyncio.gather(
            *(bus.log.append(event, after=0, timeout_s=5.0 if n else 0.0001) for n, event in enumerate(events)),
            return_exceptions=True,
        )
    assert [result for result in results[1:] if not isinstance(result, int)] == []


async def test_last_and_events_of_an_unknown_task_are_empty(ground: Any, given: Any) -> None:
    async with ground.bus() as bus:
        assert await bus.log.last(given.tenant_id, given.task_id()) is None
        assert await bus.log.events(given.tenant_id, given.task_id()) == ()


async def test_a_task_of_another_tenant_is_another_task(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    event = given.accepted(task_id)
    theirs = changed(event, tenant_id="globex", event_id=given.event_id())
    async with ground.bus() as bus:
        mine = await bus.log.append(event, after=0)
        other = await bus.log.append(theirs, after=0)
        assert [entry.sequence for entry in await bus.log.events(given.tenant_id, task_id)] == [mine]
        assert [entry.sequence for entry in await bus.log.events(TenantId("globex"), task_id)] == [other]


@pytest.mark.parametrize("bad", ["*", ">", "a.b", "a b", "", "x" * 65, "id\n"])
async def test_an_id_that_could_widen_a_subject_is_refused(ground: Any, given: Any, bad: str) -> None:
    async with ground.bus() as bus:
        with pytest.raises(InvalidRequest):
            await bus.log.last(given.tenant_id, TaskId(bad))
        with pytest.raises(InvalidRequest):
            await bus.log.events(TenantId(bad), given.task_id())
        with pytest.raises(InvalidRequest):
            await anext(aiter(bus.log.follow(given.tenant_id, TaskId(bad))))


async def test_audit_events_share_the_order_of_the_log(ground: Any, given: Any, collect: Any) -> None:
    event = given.audit("key_revoked")
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(given.task_id()), after=0)
        second = await bus.log.audit(event)
        third = await bus.log.append(given.accepted(given.task_id()), after=0)
        async with bus.log.read(first) as reader:
            stored = await collect(reader, 2)
    assert first < second < third
    assert (stored[0].subject, stored[0].event()) == (of_event(event), event)


async def test_info_names_the_log_and_its_bounds(ground: Any, given: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        before = await one.log.info()
        first = await one.log.append(given.accepted(given.task_id()), after=0)
        await one.log.append(given.accepted(given.task_id()), after=0)
        after = await two.log.info()
    assert (before.last, after.first, after.last) == (0, first, first + 1)
    assert after.size_bytes > before.size_bytes == 0
    assert before.created == after.created
    assert before.max_age_s == after.max_age_s == 600.0
    assert before.max_bytes == after.max_bytes == 64 << 20


async def test_the_window_can_be_lifted_and_set(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two:
        await one.log.set_window(None)
        assert (await two.log.info()).max_age_s is None
        await two.log.set_window(120.0)
        assert (await one.log.info()).max_age_s == 120.0


async def test_events_past_the_window_are_trimmed(ground: Any, given: Any, collect: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        first = await bus.log.append(given.accepted(task_id), after=0)
        await bus.log.set_window(1.0)
        async with asyncio.timeout(10):
            while (await bus.log.info()).first <= first:  # noqa: ASYNC110 - the server trims in its own time
                await asyncio.sleep(0.05)
        assert await bus.log.events(given.tenant_id, task_id) == ()
        await bus.log.set_window(600.0)
        second = await bus.log.append(given.accepted(given.task_id()), after=0)
        async with bus.log.read(0) as reader:
            assert [entry.sequence for entry in await collect(reader, 1)] == [second]
    assert second > first


@pytest.mark.parametrize("max_bytes", [1 << 20])
async def test_a_full_log_refuses_and_keeps_what_it_has(ground: Any, given: Any) -> None:
    async def fill() -> None:
        for _ in range(100):
            await bus.log.append(given.accepted(given.task_id(), text="x" * 30_000), after=0)

    async with ground.bus() as bus:
        with pytest.raises(LogFull):
            await fill()
        info = await bus.log.info()
        with pytest.raises(LogFull):
            await bus.log.audit(changed(given.audit(), subject="x" * 40_000))
        assert (await bus.log.info()).first == info.first == 1
        assert (await bus.log.info()).last == info.last > 20


async def test_a_task_with_large_events_is_read_whole(ground: Any, given: Any) -> None:
    task_id, stored = given.task_id(), [0]
    async with ground.bus() as bus:
        for number in range(14):
            event = given.routed(task_id, number=number, text="x" * 800_000)
            stored.append(await bus.log.append(event, after=stored[-1]))
        entries = await bus.log.events(given.tenant_id, task_id)
    assert [entry.sequence for entry in entries] == stored[1:]
    assert [entry.event().params["number"] for entry in entries] == list(range(14))


async def test_an_event_over_the_payload_bound_is_refused(ground: Any, given: Any) -> None:
    task_id = given.task_id()
    async with ground.bus() as bus:
        with pytest.raises(PayloadTooLarge):
            await bus.log.append(given.accepted(task_id, text="x" * (1 << 21)), after=0)
        assert await bus.log.append(given.accepted(task_id), after=0) == 1


async def _patiently(append: Any, *args: Any, **options: Any) -> Any:
    """What a caller does that must know: the same event again, until the outcome is told."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await append(*args, **options)
            except Unavailable:
                await asyncio.sleep(0.05)
