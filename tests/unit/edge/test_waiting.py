"""Whoever waits is told once, by the live feed or by the safety net."""

import asyncio

import structlog

from bus.memory import MemoryBus, MemoryServer
from edge.tasks.acceptance import Times, accept, accepted_event
from edge.tasks.cancel import Mark, cancelled_event
from edge.tasks.catalogue import Catalogue
from edge.tasks.request import read_request
from edge.tasks.waiting import Waiting
from schemas.events import Accepted, AttemptFailed, Ended
from schemas.ids import EventId, TaskId, TenantId
from schemas.message import changed, encode
from schemas.registry import EngineAdvert
from schemas.result import Engine, TaskError

TENANT, TASK = TenantId("acme"), TaskId("t")


def accepted() -> Accepted:
    request = read_request(b'{"intent":"greet","sla":{"timeout_s":100,"budget_usd":0.25}}', 32)
    return accepted_event(request, TENANT, TASK, EventId("e1"), f"00-{'a' * 32}-{'b' * 16}-01", Times(1000, 60))


def ended() -> Ended:
    return cancelled_event([accepted()], Mark(EventId("e2"), 1500))


def test_the_deadline_is_the_time_of_acceptance_and_what_the_sla_gives() -> None:
    brief = accepted().brief
    assert (brief.deadline_ms, brief.budget_nanousd) == (1000 + 100_000, 250_000_000)


def test_a_cancelled_task_bills_what_its_failed_attempts_cost() -> None:
    first, error = accepted(), TaskError(code="unavailable", message="no")
    failed = [
        AttemptFailed(
            event_id=EventId(f"f{cost}"), tenant_id=TENANT, task_id=TASK, at_ms=2, brief=first.brief, params={},
            engine="cloud", fallbacks=(), attempt=1, error=error, cost_nanousd=cost,
        )
        for cost in (3, 4)
    ]  # fmt: skip
    event = cancelled_event([first, *failed], Mark(EventId("e2"), 1500))
    assert (event.usage.latency_ms, event.usage.cost_nanousd, event.engine_name) == (500, 7, None)
    assert event.engine == Engine(route="local", chosen_by="ai-router", reason="ended before an engine was chosen")


async def test_every_waiter_of_a_task_gets_its_end_and_is_forgotten() -> None:
    waiting = Waiting(MemoryBus(MemoryServer()), structlog.get_logger(), lambda: 0.0, 5)
    data = encode(ended())
    with waiting.register(TENANT, TASK) as one, waiting.register(TENANT, TASK) as two:
        waiting.ended(TenantId("other"), TASK, b"not theirs")
        waiting.ended(TENANT, TASK, data)
        assert await one.wait(1) == await two.wait(1) == data
    assert not waiting._waiters


async def test_the_safety_net_looks_only_when_due_and_finds_what_was_missed() -> None:
    server = MemoryServer()
    bus, now = MemoryBus(server), [0.0]
    waiting = Waiting(bus, structlog.get_logger(), lambda: now[0], 5)
    await accept(bus.log, accepted(), keyed=False, within_s=1)
    with waiting.register(TENANT, TASK) as waiter:
        await bus.log.append(ended(), after=1)
        await waiting.recheck()
        assert not waiter.future.done()
        now[0] = 5.0
        await waiting.recheck()
        assert await waiter.wait(1) == encode(ended())
    assert waiting.rescued == 1


async def test_closing_lets_everybody_go_without_an_end() -> None:
    waiting = Waiting(MemoryBus(MemoryServer()), structlog.get_logger(), lambda: 0.0, 5)
    with waiting.register(TENANT, TASK) as waiter:
        waiting.close()
        assert await waiter.wait(1) is None
    with waiting.register(TENANT, TASK) as late:
        assert await late.wait(1) is None


async def test_racing_submissions_of_one_task_meet_in_it() -> None:
    bus = MemoryBus(MemoryServer())
    events = [changed(accepted(), event_id=EventId(f"e{n}")) for n in range(8)]
    taken = await asyncio.gather(*(accept(bus.log, event, keyed=True, within_s=1) for event in events))
    assert sorted(one.replayed for one in taken) == [False] + [True] * 7


def test_an_intent_is_known_for_as_long_as_anybody_answers_it() -> None:
    catalogue = Catalogue()
    advert = EngineAdvert(engine="wasm", instance="i", route="local", intents=("greet",), slots=1, free_slots=1)
    catalogue.load({"broken": b"{"}, {"wasm.i": encode(advert)})
    catalogue.check("greet")
    catalogue.engine_changed("wasm.i", None)
    assert catalogue.listing() == []
