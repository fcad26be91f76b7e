"""Tokens of language models: what is reserved, what is given back, and what is not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from edge.limits.errors import RateLimited
from edge.limits.limits import Limits
from edge.limits.settings import LimitsSettings
from edge.limits.tokens import TokenAllowance, estimate
from edge.tasks.acceptance import Taken
from edge.tasks.catalogue import Catalogue
from schemas.errors import KeyReused, Unavailable
from schemas.events import Accepted, Brief, Ended, Outcome
from schemas.faces import CHAT, EMBEDDINGS
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import encode
from schemas.registry import EngineAdvert
from schemas.result import Engine, Usage
from schemas.task import Priority, Privacy

ACME = TenantId("acme")
ENGINE = Engine(route="local", chosen_by="ai-router", reason="r")
PARAMS = {"text": "x" * 19}  # 30 bytes as JSON: 10 tokens, and 90 for the answer


def accepted(intent: str = CHAT, task: str = "t1") -> Accepted:
    brief = Brief(
        intent=intent, priority=Priority.NORMAL, privacy=Privacy.LOCAL_ONLY, accepted_at_ms=1, deadline_ms=60_000
    )
    return Accepted(
        event_id=EventId(uuid7(1)), tenant_id=ACME, task_id=TaskId(task), at_ms=1, brief=brief, params=PARAMS,
        fingerprint="",
    )  # fmt: skip


def taken(*, replayed: bool = False) -> Callable[[], Awaitable[Taken]]:
    async def accept() -> Taken:
        return Taken(TaskId("t1"), replayed, 1)

    return accept


class World:
    """A tenant with a thousand tokens that never come back by themselves."""

    def __init__(self) -> None:
        self.limits = Limits(
            LimitsSettings.model_validate({"tokens": {"rpm": 1, "burst": 1000}}), None, clock_us=lambda: 0
        )
        catalogue = Catalogue()
        advert = EngineAdvert(
            engine="llm", instance="1", route="api", intents=(CHAT, EMBEDDINGS), models=("m",), slots=1, free_slots=1
        )
        catalogue.engine_changed("llm.1", encode(advert))
        self.allowance = TokenAllowance(self.limits, catalogue, answer_tokens=90)

    def end(self, *, tokens: int, outcome: Outcome = Outcome.COMPLETED, engine: str | None = "llm") -> None:
        ended = Ended(
            event_id=EventId(uuid7(2)), tenant_id=ACME, task_id=TaskId("t1"), at_ms=2, outcome=outcome, intent=CHAT,
            engine=ENGINE, engine_name=engine, usage=Usage(latency_ms=1, tokens=tokens),
        )  # fmt: skip
        self.allowance.ended(ACME, TaskId("t1"), encode(ended))

    async def left(self) -> int:
        await asyncio.sleep(0.001)  # `watch` settles
        verdict_at_least = [n for n in (1000, 965, 900, 800, 1) if await self._fits(n)]
        return max(verdict_at_least, default=0)

    async def _fits(self, tokens: int) -> bool:
        try:
            await self.limits.settle(await self.limits.reserve(ACME, tokens), 0)
        except RateLimited:
            return False
        return True


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    watch = asyncio.create_task(world.allowance.watch())
    yield world
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_an_estimate_is_reserved_and_the_end_settles_it_by_what_was_used(world: World) -> None:
    await world.allowance.accept(accepted(), taken())
    assert await world.left() == 900
    world.end(tokens=35)
    assert await world.left() == 965
    world.end(tokens=35)
    assert await world.left() == 965, "an end counts once"


async def test_an_end_that_is_heard_before_its_acceptance_was_confirmed_settles_too(world: World) -> None:
    async def accept() -> Taken:
        world.end(tokens=35)
        assert await world.left() == 900
        return Taken(TaskId("t1"), False, 1)

    await world.allowance.accept(accepted(), accept)
    assert await world.left() == 965


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.FAILED])
async def test_what_an_engine_used_of_a_task_that_it_did_not_finish_stays_as_estimated(
    world: World, outcome: Outcome
) -> None:
    await world.allowance.accept(accepted(), taken())
    world.end(tokens=0, outcome=outcome)
    assert await world.left() == 900


async def test_a_task_that_no_engine_saw_costs_nothing(world: World) -> None:
    await world.allowance.accept(accepted(), taken())
    world.end(tokens=0, outcome=Outcome.CANCELLED, engine=None)
    assert await world.left() == 1000


async def test_a_replay_and_a_refusal_give_back_and_what_may_be_stored_counts(world: World) -> None:
    await world.allowance.accept(accepted(), taken(replayed=True))
    assert await world.left() == 1000

    async def reused() -> Taken:
        raise KeyReused("another request")

    async def unknown() -> Taken:
        raise Unavailable("the log did not confirm in time")

    with pytest.raises(KeyReused):
        await world.allowance.accept(accepted(), reused)
    assert await world.left() == 1000
    with pytest.raises(Unavailable):
        await world.allowance.accept(accepted(), unknown)
    assert await world.left() == 900
    world.end(tokens=35)
    assert await world.left() == 965, "it was stored after all"


async def test_of_submissions_of_one_task_the_accepted_one_counts(world: World) -> None:
    """The replay is answered first; its reservation goes, the other's stays."""
    go = asyncio.Event()

    async def slow() -> Taken:
        await go.wait()
        return Taken(TaskId("t1"), False, 1)

    first = asyncio.create_task(world.allowance.accept(accepted(), slow))
    await asyncio.sleep(0)
    await world.allowance.accept(accepted(), taken(replayed=True))
    go.set()
    await first
    assert await world.left() == 900
    world.end(tokens=35)
    assert await world.left() == 965


async def test_without_room_nothing_is_accepted_and_other_intents_do_not_count(world: World) -> None:
    for _ in range(10):
        await world.allowance.accept(accepted(), taken())

    async def never() -> Taken:
        raise AssertionError("it was accepted")

    with pytest.raises(RateLimited, match="tokens") as refused:
        await world.allowance.accept(accepted(), never)
    assert refused.value.retry_after_s == 100 * 60
    await world.allowance.accept(accepted("echo"), taken())


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({"text": "x" * 19}, 10 + 90),
        ({"text": "x", "max_tokens": 7}, 9 + 7),
        ({"max_completion_tokens": 3, "max_tokens": 7}, 14 + 3),
        ({"max_tokens": True}, 7 + 90),
        ({"max_tokens": -5}, 6 + 90),
        ({"text": "\u65e5" * 7}, 11 + 90),
    ],
)
def test_an_estimate_is_the_text_and_the_longest_answer(params: dict[str, Any], tokens: int) -> None:
    assert estimate(params, "answers", 90) == tokens


def test_what_only_reads_gives_no_answer() -> None:
    assert estimate(PARAMS, "reads", 90) == 10
