"""Limits over a Redis that is played: what is asked, what is not, and who decides while it is away."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.runtime.settings import RedisSettings, Settings
from actors.runtime.supervisor import load_cast
from edge.actor import Edge
from edge.limits.bucket import Bucket, judge
from edge.limits.errors import RateLimited
from edge.limits.limits import Limits
from edge.limits.memory import Memory
from edge.limits.plan import Plan, Who, pattern_of
from edge.limits.settings import LimitsSettings, Rate
from edge.limits.shared import PROBE, Ask, Reply, Shared
from edge.settings import EdgeSettings
from schemas.errors import InvalidRequest, Unavailable
from schemas.ids import TenantId

SECOND_US = 1_000_000
ACME = TenantId("acme")
RATE = Rate(rpm=60_000, burst=100)
KEY = {"key": {"rpm": 60, "burst": 120}}


class Clock:
    now_us = 10**9

    def __call__(self) -> int:
        return self.now_us


class Played:
    """A script whose server has its own memory, can die, hang, and come back empty."""

    def __init__(self, clock: Clock, way_us: int = 0) -> None:
        self.clock = clock
        self.way_us = way_us
        self.memory = Memory(1000)
        self.dead = False
        self.hangs = False
        self.rounds: list[int] = []

    async def run(self, asks: Sequence[Ask]) -> list[Reply]:
        await asyncio.sleep(0)
        self.clock.now_us += self.way_us * (len(self.rounds) % 2)
        if self.hangs:
            await asyncio.Event().wait()
        if self.dead:
            raise Unavailable("Redis does not answer: ConnectionError")
        if asks != (PROBE,):
            self.rounds.append(len(asks))
        return [self._one(ask) for ask in asks]

    def _one(self, ask: Ask) -> Reply:
        known = self.memory.levels_us(ask.buckets, self.clock())
        levels = tuple(max(a, b) for a, b in zip(known, ask.least_us, strict=True))
        if ask.owed:
            after = tuple(max(0, level + b.debit_us) for level, b in zip(levels, ask.buckets, strict=True))
            self.memory.note(ask.buckets, after, self.clock())
            return Reply(True, after)
        verdict = judge(ask.buckets, levels)
        self.memory.note(ask.buckets, verdict.levels_us, self.clock())
        return Reply(verdict.admitted, verdict.levels_us)

    async def close(self) -> None:
        return


class World:
    def __init__(self, clock: Clock, script: Played, shared: list[Shared], edges: list[Limits]) -> None:
        self.clock = clock
        self.script = script
        self.shared = shared
        self.edges = edges

    async def admitted(self, times: int, *, edge: int = 0, **who: Any) -> int:
        return sum([await self.asks(edge=edge, **who) for _ in range(times)])

    async def asks(self, *, edge: int = 0, ip: str = "1.1.1.1", caller: str = "key:a") -> bool:
        try:
            await self.edges[edge].take(Who(ip, caller, ACME, "POST /v1/tasks"))
        except RateLimited:
            return False
        return True


@asynccontextmanager
async def world_of(edges: int = 1, **rates: Any) -> AsyncIterator[World]:
    settings = LimitsSettings.model_validate({"edges": edges, **(rates or KEY)})
    clock = Clock()
    script = Played(clock)
    shared = [Shared(script, structlog.get_logger(), answer_timeout_s=0.01, retry_s=0.001) for _ in range(edges)]
    limits = [Limits(settings, one, clock) for one in shared]
    for one in shared:
        await one.probe()
    serving = [asyncio.create_task(one.watch()) for one in limits]
    try:
        yield World(clock, script, shared, limits)
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def test_several_edges_admit_one_limit_together() -> None:
    async with world_of(edges=3) as world:
        admitted = sum(await asyncio.gather(*(world.asks(edge=number % 3) for number in range(500))))
        assert admitted == 120
        for number in range(120):
            world.clock.now_us += SECOND_US // 2
            admitted += await world.asks(edge=number % 3)
        assert admitted == 180


async def test_what_is_asked_together_goes_in_one_round() -> None:
    async with world_of() as world:
        await asyncio.gather(*(world.asks(caller=f"key:{number}") for number in range(100)))
        assert len(world.script.rounds) <= 2
        assert sum(world.script.rounds) == 100


async def test_a_bucket_known_to_be_empty_refuses_without_asking() -> None:
    async with world_of() as world:
        await world.admitted(121)
        rounds = len(world.script.rounds)
        assert await world.admitted(50) == 0
        assert len(world.script.rounds) == rounds
        world.clock.now_us += SECOND_US
        assert await world.admitted(2) == 1


async def test_without_redis_each_edge_goes_on_from_what_it_saw_at_its_share() -> None:
    async with world_of(edges=3) as world:
        for edge in range(3):
            assert await world.admitted(20, edge=edge) == 20
        world.script.dead = True
        assert [await world.admitted(100, edge=edge) for edge in range(3)] == [33, 26, 20]
        assert all(shared.away for shared in world.shared)
        world.clock.now_us += 60 * SECOND_US
        assert [await world.admitted(100, edge=edge) for edge in range(3)] == [20, 20, 20]


@pytest.mark.parametrize("how", ["dead", "hangs"])
async def test_all_that_ask_a_redis_that_goes_away_get_one_burst_together(how: str) -> None:
    async with world_of() as world:
        setattr(world.script, how, True)
        admitted = sum(await asyncio.gather(*(world.asks() for _ in range(500))))
        assert world.shared[0].lost == 1
        assert admitted == 120
        assert await world.admitted(10) == 0


async def test_a_redis_that_comes_back_empty_admits_no_second_burst() -> None:
    async with world_of() as world:
        assert await world.admitted(200) == 120
        world.script.dead = True
        world.clock.now_us += SECOND_US
        assert await world.admitted(10) == 1
        world.script.memory, world.script.dead = Memory(1000), False
        await world.shared[0].probe()
        world.clock.now_us += 5 * SECOND_US
        assert await world.admitted(200) == 5


async def test_a_redis_that_hangs_delays_nobody_twice_and_is_asked_no_more() -> None:
    async with world_of() as world:
        world.script.hangs = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert all(await asyncio.gather(*(world.asks() for _ in range(50))))
        assert loop.time() - began < 0.1
        began = loop.time()
        assert await world.admitted(50) == 50
        assert loop.time() - began < 0.01
        assert world.shared[0].lost == 1
        assert world.edges[0].status()["redis_away"] is True


async def test_a_request_that_leaves_takes_no_other_with_it() -> None:
    async with world_of() as world:
        leaving, staying = asyncio.create_task(world.asks()), asyncio.create_task(world.asks())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying


async def test_tokens_are_reserved_and_settled() -> None:
    async with world_of(tokens={"rpm": 60, "burst": 1000}) as world:
        edge = world.edges[0]
        first = await edge.reserve(ACME, 800)
        with pytest.raises(RateLimited, match="tokens"):
            await edge.reserve(ACME, 800)
        await edge.settle(first, 100)
        second = await edge.reserve(ACME, 800)
        await edge.settle(second, 950)  # 1050 of 1000: owed
        with pytest.raises(RateLimited) as refused:
            await edge.reserve(ACME, 1)
        assert refused.value.retry_after_s == 51
        world.clock.now_us += 51 * SECOND_US
        await edge.settle(await edge.reserve(ACME, 1), 1)
        with pytest.raises(RateLimited):
            await edge.reserve(ACME, 1)
        with pytest.raises(InvalidRequest, match="1000"):
            await edge.reserve(ACME, 1001)


async def test_tokens_are_settled_without_redis_too() -> None:
    clock = Clock()
    limits = Limits(LimitsSettings.model_validate({"tokens": {"rpm": 60, "burst": 1000}}), None, clock)
    await limits.settle(await limits.reserve(ACME, 900), 100)
    await limits.reserve(ACME, 900)
    with pytest.raises(RateLimited):
        await limits.reserve(ACME, 1)


async def test_an_edge_gives_back_no_more_than_was_taken_where_redis_goes_and_comes() -> None:
    """Three edges: alone, each counts for three; what Redis was never debited it does not give back."""
    async with world_of(edges=3, tokens={"rpm": 60, "burst": 900}) as world:
        edge, shared = world.edges[0], world.shared[0]
        before = await edge.reserve(ACME, 300)  # at Redis
        shared.away = True
        alone = await edge.reserve(ACME, 100)  # here alone: 300 of what it knows
        await edge.settle(before, 100)  # 200 back, not three times that
        await edge.reserve(ACME, 166)
        with pytest.raises(RateLimited):
            await edge.reserve(ACME, 1)
        shared.away = False
        await edge.settle(alone, 40)  # Redis holds 300, and is owed these
        await edge.reserve(ACME, 560)
        with pytest.raises(RateLimited):
            await edge.reserve(ACME, 1)


async def test_an_address_with_nothing_left_is_refused_before_its_credential_is_read() -> None:
    limits = Limits(LimitsSettings.model_validate({"ip": {"rpm": 60, "burst": 3}}), None, Clock())
    for _ in range(3):
        limits.check_address("1.1.1.1")
        await limits.take_stranger("1.1.1.1")
    with pytest.raises(RateLimited, match="ip"):
        limits.check_address("1.1.1.1")
    limits.check_address("1.1.1.2")


async def test_what_is_done_already_counts_and_is_refused_nothing() -> None:
    async with world_of(key={"rpm": 60, "burst": 2}, tenant={"rpm": 60, "burst": 4}) as world:
        limits, who = world.edges[0], Who(None, "user:local/alice", ACME, "POST /v1/auth/refresh")
        assert [(await limits.count(who)).admitted for _ in range(4)] == [True, True, False, False]
        assert limits.refused == 0
        assert await world.admitted(5, caller="key:b") == 2, "past his own limit he takes nothing of his tenant's"


async def test_who_is_known_to_have_nothing_left_is_told_so_and_nothing_is_taken() -> None:
    async with world_of(key={"rpm": 60, "burst": 2}) as world:
        limits, who = world.edges[0], Who(None, "key:a", ACME, "")
        for _ in range(5):
            limits.check(who)
        assert await world.admitted(3) == 2
        rounds = len(world.script.rounds)
        with pytest.raises(RateLimited):
            limits.check(who)
        limits.check(who._replace(caller="key:b"))
        assert len(world.script.rounds) == rounds


def test_a_route_is_found_by_its_path_or_its_pattern() -> None:
    rate = {"rpm": 60, "burst": 1}
    settings = {"routes": {"POST /v1/tasks": rate, "GET /v1/tasks/{task_id}/events": rate}}
    plan = Plan(LimitsSettings.model_validate(settings))
    asked = ["POST /v1/tasks", "GET /v1/tasks/7/events", "GET /v1/tasks/8/events", "GET /v1/tasks/7", "GET /v1/tasks"]
    buckets = [plan.of_caller(Who("", "", ACME, route)) for route in asked]
    keys = [found[0].key if found else "" for found in buckets]
    events = "route:acme:GET /v1/tasks/{task_id}/events"
    assert keys == ["route:acme:POST /v1/tasks", events, events, "", ""]
    assert pattern_of("GET /v1/stream/x") == "GET /v1/stream/{task_id}"


async def test_a_route_without_a_limit_asks_nobody() -> None:
    async with world_of(routes={"POST /v1/other": {"rpm": 60, "burst": 1}}) as world:
        assert await world.admitted(50) == 50
        assert world.script.rounds == []


async def test_the_way_to_redis_takes_nothing_from_a_fast_bucket() -> None:
    """A thousand a second, and every other one takes 6 ms there: it meets the level that is left, not the one known."""
    async with world_of(key={"rpm": 60_000, "burst": 100}) as world:
        world.script.way_us = 6_000
        assert await world.admitted(1000) == 1000
        (level_us,) = world.script.memory.levels_us([Bucket("key", "caller:key:a", RATE)], world.clock())
        assert level_us <= 1_000


def test_the_documented_profile_is_one_that_loads() -> None:
    text = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
    document = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    settings = Settings({}, document, {"limits": lambda: LimitsSettings, "edge": lambda: EdgeSettings})
    settings.check()
    rates = settings.load("limits", LimitsSettings)
    assert (rates.wanted, rates.key, rates.edges) == (True, Rate(rpm=60, burst=120), 3)
    assert settings.load("edge", EdgeSettings).trusted_proxies
    environ = {"AION_LIMITS__KEY": '{"rpm": 6, "burst": 7}'}
    assert Settings(environ, {}, {}).load("limits", LimitsSettings).key == Rate(rpm=6, burst=7)


def test_an_edge_is_given_its_rates_and_where_redis_is() -> None:
    environ = {"AION_LIMITS__EDGES": "3", "AION_REDIS__URL": "redis://cache.example:6379/0"}
    ((_, *settings),) = load_cast([Edge], Settings(environ, {}, {})).members
    assert [type(section) for section in settings] == [EdgeSettings, LimitsSettings, RedisSettings]
    assert isinstance(settings[1], LimitsSettings)
    assert settings[1].edges == 3
