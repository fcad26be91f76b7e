"""One Idempotency-Key, many submissions at once over two edges: one task, the same bytes, whatever was restarted."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo import EchoSettings, System, free_port, histories, system
from natsd import Natsd
from pydantic import SecretStr
from valkeyd import Valkeyd

from actors.runtime.settings import RedisSettings
from edge.limits.settings import LimitsSettings

AT_ONCE = 300


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


async def submit(it: System, port: int, key: str, number: int = 1, prefer: str = "wait=20") -> tuple[int, bool, bytes]:
    """Status, whether it was a replay, and the body."""
    task = {"intent": "greet", "params": {"number": number}}
    headers = {"Idempotency-Key": key, "Prefer": prefer}
    async with it.http.post(f"http://127.0.0.1:{port}/v1/tasks", json=task, headers=headers) as response:
        return response.status, response.headers.get("Idempotency-Replayed") == "true", await response.read()


@pytest.fixture
def valkey() -> Iterator[Valkeyd]:
    server = Valkeyd().start()
    yield server
    server.kill()


async def test_300_submissions_of_one_key_are_one_task_with_the_same_bytes(nats: Natsd, valkey: Valkeyd) -> None:
    """Two edges whose limits are in Valkey, which is killed; then every actor and nats-server are started again."""
    ports = [free_port(), free_port()]
    limits = (
        LimitsSettings.model_validate({"key": {"rpm": 600_000, "burst": 10_000}, "edges": 2}),
        RedisSettings(url=SecretStr(valkey.url)),
    )
    async with system(nats, EchoSettings(service_s=0.5), *ports, limits=limits) as it:
        answers = await asyncio.gather(*(submit(it, ports[n % 2], "order-7") for n in range(AT_ONCE)))
        assert {status for status, _, _ in answers} == {200}
        assert len({body for *_, body in answers}) == 1
        assert Counter(replayed for _, replayed, _ in answers) == {False: 1, True: AT_ONCE - 1}
        assert [(await submit(it, port, "order-7", number=2))[0] for port in ports] == [422, 422]
        running = await submit(it, ports[0], "order-8", prefer="respond-async")
        attached = await submit(it, ports[1], "order-8")
        assert (running[0], attached[0], attached[1]) == (202, 200, True)
        valkey.kill()
        without = await asyncio.gather(*(submit(it, ports[n % 2], "order-7") for n in range(AT_ONCE)))
        assert {(status, replayed) for status, replayed, _ in without} == {(200, True)}
        assert {body for *_, body in without} == {answers[0][2]}
        fresh = await asyncio.gather(*(submit(it, ports[n % 2], "order-9") for n in range(AT_ONCE)))
        assert Counter(replayed for _, replayed, _ in fresh) == {False: 1, True: AT_ONCE - 1}
        assert len({body for *_, body in fresh}) == 1
        await it.stop()
        nats.kill()
        nats.start()
        await it.start(*ports)
        for key, first in (("order-7", answers[0]), ("order-9", fresh[0])):
            again = await asyncio.gather(*(submit(it, ports[n % 2], key) for n in range(60)))
            assert {(status, replayed) for status, replayed, _ in again} == {(200, True)}
            assert {body for *_, body in again} == {first[2]}
        assert (await submit(it, ports[0], "order-7", number=2))[0] == 422
        assert Counter(tuple(life) for life in (await histories(it.bus)).values()) == {
            ("accepted", "routed", "ended"): 3
        }
        assert json.loads(answers[0][2])["status"] == "OK"
        await cost(it, ports[0])


async def cost(it: System, port: int) -> None:
    """Print what a replay costs beside a probe that asks nobody."""
    took: dict[str, list[float]] = {"probe": [], "replay": []}
    for _ in range(100):
        began = time.perf_counter()
        async with it.http.get(f"http://127.0.0.1:{port}/healthz") as response:
            await response.read()
        took["probe"].append(time.perf_counter() - began)
        began = time.perf_counter()
        await submit(it, port, "order-7")
        took["replay"].append(time.perf_counter() - began)
    medians = {name: sorted(values)[50] * 1000 for name, values in took.items()}
    sys.stdout.write(f"\nmedian ms: {medians}\n")  # shown by -s
