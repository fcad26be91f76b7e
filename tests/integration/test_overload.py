"""Three times as much as an engine can do, and an edge that is told to go under load.

The suite plays some seconds. The long forms, with their figures:

    AION_OVERLOAD_S=60 python -m pytest -s tests/integration/test_overload.py
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from echo import EchoSettings, System, free_port, histories, system
from natsd import Natsd

from bus.subjects import MODULES
from schemas.message import encode
from schemas.registry import ModuleRecord

pytestmark = pytest.mark.alone

OVERLOAD_S = float(os.environ.get("AION_OVERLOAD_S", "4"))
LONG = OVERLOAD_S > 30
PEAK_S = 10.0 if LONG else 2.5
ENGINE = EchoSettings(slots=40, service_s=0.4)
CAPACITY = ENGINE.slots / ENGINE.service_s
TIMEOUT_S = 3.0
RATE = 200.0
WARM_S = 1.0


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


@dataclass
class Answer:
    """Of one request: when it was due, and what it got after how long (seconds)."""

    due_s: float
    status: int
    took_s: float
    well: bool = False
    retry_after: str | None = None


@dataclass
class Load:
    """Tasks of three seconds each for one edge, at a fixed rate or so many open."""

    it: System
    port: int
    answers: list[Answer] = field(default_factory=list)

    async def at_rate(self, rate: float, seconds: float) -> list[Answer]:
        """Sent at their times, whatever becomes of those before."""
        first, begun = len(self.answers), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * rate)):
                due_s = begun + number / rate
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                group.create_task(self._one(due_s))
        return self.answers[first:]

    async def with_open(self, count: int, seconds: float) -> list[Answer]:
        """So many open all the time."""
        first, end_s = len(self.answers), time.monotonic() + seconds

        async def one_by_one() -> None:
            while time.monotonic() < end_s:
                await self._one(time.monotonic())

        await asyncio.gather(*(one_by_one() for _ in range(count)))
        return self.answers[first:]

    async def _one(self, due_s: float) -> None:
        task = {"intent": "greet", "params": {}, "sla": {"timeout_s": TIMEOUT_S}}
        async with self.it.http.post(f"http://127.0.0.1:{self.port}/v1/tasks", json=task) as response:
            body = await response.json()
        took_s = time.monotonic() - due_s
        well = response.status == 200 and body["status"] == "OK"
        self.answers.append(Answer(due_s, response.status, took_s, well, response.headers.get("Retry-After")))


def rate_of(answers: list[Answer], seconds: float) -> float:
    """How many a second ended well while the load went on, past its first second; what ended after it counts not."""
    begun_s = min(answer.due_s for answer in answers)
    ended_s = [answer.due_s + answer.took_s - begun_s for answer in answers if answer.well]
    return sum(WARM_S < at_s <= seconds for at_s in ended_s) / (seconds - WARM_S)


def percentile_ms(answers: list[Answer], share: float) -> float:
    waits = sorted(answer.took_s for answer in answers)
    return waits[min(len(waits) - 1, int(share * len(waits)))] * 1000 if waits else float("nan")


@pytest.mark.timeout(120 + 2 * OVERLOAD_S)
async def test_three_times_the_capacity_is_refused_early_and_the_rest_is_done(nats: Natsd) -> None:
    async with system(nats, ENGINE) as it:
        load = Load(it, port := free_port())
        await it.edge(port)
        peak = await load.with_open(96, PEAK_S)
        peak_rate = rate_of(peak, PEAK_S)
        over = await load.at_rate(3 * CAPACITY, OVERLOAD_S)
        goodput = rate_of(over, OVERLOAD_S)
        refused = [answer for answer in over if answer.status in (429, 503)]
        await asyncio.sleep(10.0 if LONG else 1.0)
        after = await load.at_rate(CAPACITY / 2, 2.0)
        figures = (
            f"\npeak {peak_rate:.0f}/s; {3 * CAPACITY:.0f}/s offered for {OVERLOAD_S:g} s: {goodput:.0f}/s well "
            f"({goodput / peak_rate:.2f} of peak), {len(refused)} refused in p50 {percentile_ms(refused, 0.5):.1f}, "
            f"p99 {percentile_ms(refused, 0.99):.1f} ms; statuses {dict(Counter(a.status for a in over))}; "
            f"after it p50 {percentile_ms(after, 0.5):.1f} ms, "
            f"{sum(not a.well for a in after)} of {len(after)} not well\n"
        )
        sys.stdout.write(figures)  # shown by -s
        assert {answer.status for answer in over} <= {200, 429, 503}
        assert len(refused) > len(over) / 3, figures
        assert all(int(answer.retry_after or 0) >= 1 for answer in refused)
        assert percentile_ms(refused, 0.5) < 50, figures
        assert goodput >= (0.9 if LONG else 0.75) * peak_rate, figures
        assert all(answer.well for answer in after), figures


@dataclass
class Client:
    """Submits until it has an answer, as a client does that holds an Idempotency-Key."""

    it: System
    port: int
    retries: Counter[str] = field(default_factory=Counter)

    async def submit(self, key: str) -> bytes:
        for _ in range(20):
            try:
                status, body = await self._once(key)
            except aiohttp.ClientError as error:
                self.retries[type(error).__name__] += 1
            else:
                if status == 200:
                    return body
                self.retries[str(status)] += 1
            await asyncio.sleep(0.05)
        raise AssertionError(f"{key} was never answered: {self.retries}")

    async def _once(self, key: str) -> tuple[int, bytes]:
        task = {"intent": "greet", "params": {"key": key}}
        where = f"http://127.0.0.1:{self.port}/v1/tasks"
        async with self.it.http.post(where, json=task, headers={"Idempotency-Key": key}) as response:
            return response.status, await response.read()


@pytest.mark.timeout(120 + 2 * OVERLOAD_S)
async def test_an_edge_that_is_told_to_go_loses_no_request_and_closes_streams_that_resume(nats: Natsd) -> None:
    seconds = 20.0 if LONG else 2.5
    async with system(nats, EchoSettings(service_s=0.03)) as it:
        base = f"http://127.0.0.1:{(port := free_port())}"
        module = ModuleRecord(name="parked", version="1.0.0", digest="sha256:" + "0" * 64, intents=("parked",))
        await it.bus.kv.put(MODULES, "parked", encode(module))
        first = await it.edge(port, reuse_port=True)
        parked = {"intent": "parked", "task_id": "parked", "sla": {"timeout_s": 250}}
        async with it.http.post(f"{base}/v1/tasks", json=parked, headers={"Prefer": "respond-async"}) as answer:
            assert answer.status == 202
        stream = await it.http.get(f"{base}/v1/stream/parked")
        await it.edge(port, reuse_port=True)
        client = Client(it, port)
        keys = [f"k{number}" for number in range(round(seconds * RATE))]
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            running = []
            for number, key in enumerate(keys):
                await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
                running.append(group.create_task(client.submit(key)))
                if number == len(keys) // 2:
                    first.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            code = await first.wait()
            seen = (await stream.content.read()).decode()
        sys.stdout.write(f"\n{len(keys)} requests at {RATE:g}/s, exit {code}, tried again: {dict(client.retries)}\n")
        assert code == 0
        assert {json.loads(task.result())["status"] for task in running} == {"OK"}
        ids = re.findall(r"^id: ([0-9]+)$", seen, re.MULTILINE)
        assert seen.rstrip().endswith(f": draining: reconnect with Last-Event-ID {ids[-1]}")
        async with it.http.post(f"{base}/v1/tasks/parked/cancel") as answer:
            assert answer.status == 200
        async with it.http.get(f"{base}/v1/stream/parked", headers={"Last-Event-ID": ids[-1]}) as again:
            assert re.findall(r"^event: (\w+)$", await again.text(), re.MULTILINE) == ["done"]
        lives = await histories(it.bus)
        assert len(lives) == len(keys) + 1
        assert {life[-1] for life in lives.values()} == {"ended"}
        assert {(life.count("accepted"), life.count("ended")) for life in lives.values()} == {(1, 1)}
