"""Limits on a real Valkey: the arithmetic over three edges, and an edge that decides alone while Valkey is away.

The suite plays the published rates ten times as fast: 500 at once, then 20 a second for 6 s. The long form plays them
as they are, 2 a second for 60 s:

    AION_LIMITS_PACE=1 python -m pytest -s tests/integration/test_limits.py -k 180
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog
from pydantic import SecretStr
from redis.asyncio import Redis
from valkeyd import Valkeyd

from actors.runtime import Context
from actors.runtime.settings import RedisSettings
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from edge.actor import Edge
from edge.limits.bucket import Bucket, judge
from edge.limits.script import PREFIX, RedisScript
from edge.limits.settings import LimitsSettings, Rate
from edge.limits.shared import Ask
from edge.settings import EdgeSettings
from schemas.errors import Misconfigured, Unavailable
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode

pytestmark = pytest.mark.alone

PACE = float(os.environ.get("AION_LIMITS_PACE", "10"))
STALL_S = 0.2
"""What this machine may stand still for in all, in six seconds."""


class Doors:
    """Edges over one bus and one Valkey, and a client that goes round them."""

    def __init__(self, http: aiohttp.ClientSession, edges: list[Edge], keys: dict[str, str]) -> None:
        self.http = http
        self.edges = edges
        self.keys = keys
        self.answers = 0

    async def ask(self, key: str = "acme", **headers: str) -> tuple[int, dict[str, str], float]:
        edge = self.edges[self.answers % len(self.edges)]
        self.answers += 1
        sent = {"Authorization": f"Bearer {self.keys[key]}", **headers}
        began = time.perf_counter()
        async with self.http.get(f"http://127.0.0.1:{edge.port}/v1/intents", headers=sent) as response:
            await response.read()
            return response.status, dict(response.headers), time.perf_counter() - began

    async def admitted(self, count: int) -> int:
        answers = await asyncio.gather(*(self.ask() for _ in range(count)))
        assert {status for status, _, _ in answers} <= {200, 429}
        assert all("Retry-After" in headers for status, headers, _ in answers if status == 429)
        return sum(status == 200 for status, _, _ in answers)


@asynccontextmanager
async def doors(url: str | None, count: int = 1, *, rates: dict[str, Any], **settings: Any) -> AsyncIterator[Doors]:
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        bus = MemoryBus(server)
        keys = {}
        for name, tenant in (("acme", "acme"), ("second", "acme"), ("other", "other")):
            keys[name], record = mint(TenantId(tenant), server.now_ms(), random.randbytes(RANDOM_BYTES))
            await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
        edges = []
        for number in range(count):
            context = Context(MemoryBus(server), f"edge-{number}", structlog.get_logger(), server.now_ms)
            edge = Edge(
                context,
                EdgeSettings.model_validate({"port": 0, "drain_grace_s": 0.0} | settings),
                LimitsSettings.model_validate({"edges": count, "answer_timeout_s": 0.2, "retry_s": 0.05} | rates),
                RedisSettings(url=SecretStr(url) if url else None),
            )
            await stack.enter_async_context(edge.lifespan())
            edges.append(edge)
        connector = aiohttp.TCPConnector(limit=60)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Doors(http, edges, keys)


@pytest.fixture
def valkey() -> Iterator[Valkeyd]:
    server = Valkeyd().start()
    yield server
    server.kill()


async def test_500_at_once_and_then_twice_the_rate_admit_180_over_three_edges(valkey: Valkeyd) -> None:
    rates = {"key": {"rpm": round(60 * PACE), "burst": 120}, "answer_timeout_s": 2.0}  # edges and clients share a loop
    async with doors(valkey.url, 3, rates=rates) as world:
        admitted = await world.admitted(1)  # the first one starts the bucket's clock
        began = time.monotonic()
        admitted += await world.admitted(499)
        for number in range(1, 121):
            await asyncio.sleep(max(0.0, began + number / (2 * PACE) - time.monotonic()))
            admitted += await world.admitted(1)
        took = time.monotonic() - began
        expected = 120 + took * PACE
        sys.stderr.write(f"{admitted} admitted in {took:.2f} s, {expected:.1f} by the arithmetic\n")
        assert [edge.status()["limits"]["alone"] for edge in world.edges] == [0, 0, 0]  # type: ignore[index]
        assert abs(admitted - expected) <= 2
        assert abs(took * PACE - 60) < 2, "the machine was too slow to say anything"


async def test_a_429_says_when_to_come_back_and_is_true(valkey: Valkeyd) -> None:
    async with doors(valkey.url, rates={"key": {"rpm": 60, "burst": 3}}) as world:
        status, headers, _ = await world.ask()
        assert (status, headers["RateLimit"]) == (200, '"key";r=2;t=1')
        assert headers["RateLimit-Policy"] == '"key";q=60;w=60;aion-burst=3'
        while (refused := await world.ask())[0] == 200:
            continue
        assert refused[0] == 429
        assert refused[1]["RateLimit"] == f'"key";r=0;t={refused[1]["Retry-After"]}'
        await asyncio.sleep(int(refused[1]["Retry-After"]))
        assert (await world.ask())[0] == 200


async def test_each_limit_has_its_own_subject(valkey: Valkeyd) -> None:
    once = {"rpm": 1, "burst": 2}
    for kind, admitted in (("key", (2, 2, 2)), ("tenant", (2, 0, 2)), ("ip", (2, 0, 0))):
        async with doors(valkey.url, rates={kind: once}) as world:
            found = [sum([(await world.ask(key))[0] == 200 for _ in range(4)]) for key in world.keys]
            assert tuple(found) == admitted, kind
        async with Redis.from_url(valkey.url) as client:
            await client.flushall()


async def test_routes_are_counted_apart_and_guesses_at_keys_count_for_the_address() -> None:
    rates = {"routes": {"GET /v1/tasks/{task_id}": {"rpm": 1, "burst": 1}}, "ip": {"rpm": 1, "burst": 5}}
    async with doors(None, rates=rates, trusted_proxies=["127.0.0.0/8"]) as world:
        auth = {"Authorization": f"Bearer {world.keys['acme']}"}
        url = f"http://127.0.0.1:{world.edges[0].port}/v1/tasks/"
        statuses = []
        for task in ("a", "b"):
            async with world.http.get(url + task, headers=auth | {"X-Forwarded-For": "9.9.9.9"}) as response:
                statuses.append(response.status)
        assert statuses == [503, 429]  # no ledger, and then no room
        assert (await world.ask(**{"X-Forwarded-For": "9.9.9.9"}))[0] == 200
        world.keys["wrong"] = world.keys["acme"][:-1] + "x"
        guesses = [(await world.ask("wrong", **{"X-Forwarded-For": "6.6.6.6"}))[0] for _ in range(7)]
        assert guesses == [401] * 5 + [429] * 2
        status, headers, _ = await world.ask(**{"X-Forwarded-For": "6.6.6.6"})
        assert (status, headers["RateLimit"]) == (429, f'"ip";r=0;t={headers["Retry-After"]}')
        assert (await world.ask(**{"X-Forwarded-For": "7.7.7.7"}))[0] == 200


async def test_a_valkey_that_is_killed_leaves_the_edge_neither_open_nor_closed(valkey: Valkeyd) -> None:
    """Three edges at six times the rate: over everything, at most two bursts and the refill, and never nothing."""
    async with doors(valkey.url, 3, rates={"key": {"rpm": 360, "burst": 120}}) as world:
        began = time.monotonic()
        assert 120 <= await world.admitted(150) <= 126
        valkey.kill()
        alone = 0
        latencies = []
        for _ in range(40):
            status, _, took = await world.ask()
            alone += status == 200
            latencies.append(took)
            await asyncio.sleep(0.05)
        passed = time.monotonic() - began
        assert sorted(latencies)[len(latencies) // 2] < 0.01
        assert max(latencies) < 0.2
        assert 1 <= alone <= passed * 6 + 1, "the refill goes on, a third on each edge"
        valkey.start()
        async with asyncio.timeout(5):
            while any(edge.status()["limits"]["redis_away"] for edge in world.edges):  # type: ignore[index]  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        before = [edge.status()["limits"]["alone"] for edge in world.edges]  # type: ignore[index]
        again = await world.admitted(150)
        assert again <= (time.monotonic() - began) * 6 + 2, "an empty Valkey gives nobody a second burst"
        assert [edge.status()["limits"]["alone"] for edge in world.edges] == before  # type: ignore[index]


async def test_a_valkey_that_hangs_costs_one_round(valkey: Valkeyd) -> None:
    rates = {"key": {"rpm": 600, "burst": 1000}, "answer_timeout_s": 0.05, "retry_s": 0.2}
    async with doors(valkey.url, rates=rates) as world:
        assert (await world.ask())[0] == 200
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(world.ask() for _ in range(20)))
            assert {status for status, _, _ in answers} == {200}
            assert max(took for _, _, took in answers) < 0.5
            later = [await world.ask() for _ in range(20)]
            assert sorted(took for _, _, took in later)[10] < 0.01
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        async with asyncio.timeout(5):
            while world.edges[0].status()["limits"]["redis_away"]:  # type: ignore[index]  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await world.ask())[0] == 200


async def test_an_edge_starts_without_its_valkey() -> None:
    nobody = Valkeyd()
    async with doors(nobody.url, rates={"key": {"rpm": 60, "burst": 3}}) as world:
        assert await world.admitted(10) == 3


async def test_the_script_judges_as_the_arithmetic_does(valkey: Valkeyd) -> None:
    """Intervals of a minute: what passes during the test changes no verdict. Buckets are shared within a round."""
    rng = random.Random(7)
    rates = [Rate(rpm=1, burst=burst) for burst in (1, 3, 10)]
    script = RedisScript(valkey.url, 1.0)
    levels: dict[str, int] = {}
    try:
        for _ in range(30):
            asks, expected = [], []
            for _ in range(rng.randrange(1, 8)):
                kinds = rng.sample(range(6), rng.randrange(1, 4))
                buckets = tuple(Bucket("key", f"k{kind}", rates[kind % 3], rng.randrange(1, 4)) for kind in kinds)
                asks.append(Ask(buckets, (0,) * len(buckets)))
                verdict = judge(buckets, [levels.get(bucket.key, 0) for bucket in buckets])
                levels.update(zip((bucket.key for bucket in buckets), verdict.levels_us, strict=True))
                expected.append(verdict)
            replies = await script.run(asks)
            assert [reply.admitted for reply in replies] == [verdict.admitted for verdict in expected]
            for reply, verdict in zip(replies, expected, strict=True):
                for level, wanted in zip(reply.levels_us, verdict.levels_us, strict=True):
                    assert wanted - 10_000_000 <= level <= wanted
    finally:
        await script.close()


async def test_the_script_remembers_whole_microseconds_forgets_full_buckets_and_gives_back(valkey: Valkeyd) -> None:
    bucket = Bucket("tokens", "tokens:a", Rate(rpm=6_000_000, burst=1000), 500)
    script = RedisScript(valkey.url, 1.0)
    async with Redis.from_url(valkey.url) as client:
        (reply,) = await script.run([Ask((bucket,), (0,))])
        assert reply == (True, (5000,))
        assert int(await client.get(f"{PREFIX}tokens:a") or 0) > 10**15
        slow = bucket._replace(rate=Rate(rpm=60, burst=1000))
        (reply,) = await script.run([Ask((slow,), (0,))])
        assert 500_000_000 - 5000 <= reply.levels_us[0] <= 500_005_000
        assert 490_000 < await client.pttl(f"{PREFIX}tokens:a") < 500_100
        (reply,) = await script.run([Ask((slow._replace(cost=-500),), (0,), owed=True)])
        assert reply.levels_us[0] <= 5000
        await script.run([Ask((slow._replace(cost=-500),), (0,), owed=True)])
        assert await client.exists(f"{PREFIX}tokens:a") == 0
        (reply,) = await script.run([Ask((slow._replace(cost=1),), (999_500_000,))])
        assert reply == (False, (999_500_000,)), "what the caller knows counts where the server forgot"
        await client.script_flush()
        assert len(await script.run([Ask((slow,), (0,))])) == 1, "a server that forgot the script is given it again"
    await script.close()


async def test_a_valkey_that_takes_no_writes_is_away(valkey: Valkeyd) -> None:
    async with Redis.from_url(valkey.url) as client:
        await client.replicaof("127.0.0.1", "1")  # a replica is read only
        async with doors(valkey.url, rates={"key": {"rpm": 60, "burst": 3}}) as world:
            assert await world.admitted(10) == 3
            assert world.edges[0].status()["limits"]["redis_away"]  # type: ignore[index]
            assert world.edges[0].status()["limits"]["redis_lost"] == 0  # type: ignore[index]


async def test_an_address_that_is_none_and_one_that_does_not_answer() -> None:
    with pytest.raises(Misconfigured, match="AION_REDIS__URL"):
        RedisScript("http://127.0.0.1", 1.0)
    script = RedisScript(Valkeyd().url, 1.0)
    with pytest.raises(Unavailable):
        await script.run(())
    await script.close()
