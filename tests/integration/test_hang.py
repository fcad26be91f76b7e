"""An actor that hangs past its lease, and goes on: what it then writes is refused, and it says so."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from natsd import Natsd
from relay import Relay
from story import Story

from actors.runtime import Context
from actors.runtime.crew import Crew
from actors.runtime.suspects import Suspects
from bridges.bridge import Bridge
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.verify import verify
from bridges.ledger.actor import Ledger
from bridges.ledger.connect import writing_connection
from bridges.ledger.settings import LedgerSettings
from bus import Bus, open_bus
from bus.subjects import ENGINES, Cursor, accepted, routed
from executors.wasm.build import build
from executors.wasm.settings import WasmSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas.events import Ended, Outcome, Routed, following
from schemas.ids import TaskId, TenantId
from schemas.message import changed, encode
from schemas.registry import EngineAdvert
from schemas.result import Usage
from schemas.task import Priority

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
TENANT = TenantId("acme")
LEASE_S = 1.0


@pytest.fixture
def nats(nats_binary: str, tmp_path: Path) -> Iterator[Natsd]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server
    server.kill()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def context(bus: Bus, name: str = "one") -> Context:
    return Context(bus, name, structlog.get_logger(), now_ms, random.Random(1))


@contextmanager
def child(actor: str, nats: Natsd, log: Path, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of one actor; leaving ends it, also while it is stopped."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AION_")}
    environment |= {"AION_NATS__URL": nats.url, "AION_NATS__MAX_BYTES": str(1 << 28)} | settings
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", "run", actor],
            env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        for sent in (signal.SIGCONT, signal.SIGKILL):
            with_group(process, sent)
        process.wait(10)


def with_group(process: "subprocess.Popen[bytes]", sent: signal.Signals) -> None:
    """Send it to the process and to its children."""
    try:
        os.killpg(process.pid, sent)
    except ProcessLookupError:
        return


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await look()):  # noqa: ASYNC110 - another process's progress
            await asyncio.sleep(0.05)
        return found


def figures(bus: Bus, actor: str) -> Callable[[], Awaitable[Mapping[str, object]]]:
    """What discovery shows of the one instance, empty while it does not answer."""

    async def look() -> Mapping[str, object]:
        return next((one.data for one in await bus.rpc.discover(wait_s=0.1) if one.name == actor), {})

    return look


def figure_is(bus: Bus, actor: str, name: str, least: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return int(str((await figures(bus, actor)()).get(name, -1))) >= least

    return look


async def test_an_executor_stopped_past_its_lease_cannot_end_the_task(nats: Natsd, tmp_path: Path) -> None:
    """Its cell is stopped first, so that it is at work when it is stopped itself."""
    packages = ROOT / "build" / "packages"
    build("summarize_text", packages)
    more = {
        "PACKAGES_DIR": str(packages),
        "CACHE_DIR": str(ROOT / "build" / "wasm-test-cache"),
        "CELLS": "1",
        "ACK_WAIT_S": "1",
    }
    settings = {f"AION_WASM__{name}": value for name, value in more.items()}
    cursor = routed("wasm", Priority.NORMAL, cap=WasmSettings().cap, ack_wait_s=LEASE_S)
    log = tmp_path / "wasm.log"
    async with open_bus(nats.settings()) as bus:
        with child("wasm", nats, log, **settings) as executor:
            await until(figure_is(bus, "wasm", "packages", 1))
            await asyncio.sleep(0.5)
            for cell in children_of(executor.pid):
                os.kill(cell, signal.SIGSTOP)
            event, after = await route(bus)
            await until(figure_is(bus, "wasm", "running", 1))
            os.kill(executor.pid, signal.SIGSTOP)
            async with asyncio.timeout(10), bus.queue.take(cursor, slots=1) as taker:
                delivery = await taker.get()
                assert delivery.entry.sequence == after
                assert delivery.delivered >= 2
                mine = end(event)
                await bus.log.append(mine, after=after)
                await delivery.done()
            with_group(executor, signal.SIGCONT)
            await until(figure_is(bus, "wasm", "late_results_refused", 1))
            stored = [entry.event() for entry in await bus.log.events(TENANT, TaskId("t1"))]
    assert [one.event for one in stored] == ["accepted", "routed", "ended"]
    assert stored[-1] == mine


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    assert found, f"{pid} has no children"
    return found


def young(event: Any) -> Any:
    """Accepted now, with a minute's time."""
    brief = changed(event.brief, accepted_at_ms=now_ms(), deadline_ms=now_ms() + 60_000)
    return changed(event, brief=brief, at_ms=now_ms())


async def route(bus: Bus) -> tuple[Routed, int]:
    story = Story()
    first = await bus.log.append(young(story.accepted("t1", text="One. Two. Three.")), after=0)
    event = changed(young(story.routed("t1")), engine="wasm", params={"text": "One. Two. Three."})
    return event, await bus.log.append(event, after=first)


def end(event: Routed) -> Ended:
    head = following(event, Story().ended("x").event_id, now_ms())
    return Ended(
        **head, outcome=Outcome.COMPLETED, intent="summarize", engine=event.decision, usage=Usage(latency_ms=1)
    )


@asynccontextmanager
async def routing(bus: Bus, name: str) -> AsyncIterator[Router]:
    """A router that takes accepted tasks."""
    router = Router(context(bus, name), RouterSettings(slots=4))
    async with router.lifespan():
        works = [work for work in router.works() if work.cursor.name == "accepted-normal"]
        log = structlog.get_logger()
        crew = Crew(works[0], bus, log, random.Random(1), Suspects(bus.kv, log))
        running = asyncio.create_task(crew.run())
        try:
            yield router
        finally:
            await crew.stop()
            await running


async def test_a_router_whose_decision_is_held_up_past_its_lease_cannot_add_it(
    nats: Natsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it wrote is on its way while another router decides; then it arrives."""

    def brief_lease(priority: Priority) -> Cursor:
        return replace(accepted(priority), ack_wait_s=LEASE_S)

    monkeypatch.setattr("router.actor.accepted", brief_lease)
    relay = Relay(nats.port)
    advert = EngineAdvert(
        engine="wasm", instance="1", route="local", intents=("summarize",), slots=1, free_slots=1, draining=False
    )
    async with (
        relay.listening() as url,
        open_bus(nats.settings()) as bus,
        open_bus(nats.settings(url=url)) as slow_bus,
    ):
        await bus.kv.put(ENGINES, "wasm.1", encode(advert))
        async with routing(slow_bus, "slow") as slow:
            await asyncio.sleep(0.3)
            relay.from_client.clear()
            first = await bus.log.append(young(Story().accepted("t1")), after=0)
            await asyncio.sleep(0.2)
            async with routing(bus, "fast") as fast:

                async def decided() -> bool:
                    return int(str(fast.status()["routed"])) == 1

                await until(decided)
                relay.from_client.set()

                async def heard() -> bool:
                    return int(str(slow.status()["superseded"])) == 1

                await until(heard)
                stored = await bus.log.events(TENANT, TaskId("t1"))
                assert [entry.subject.split(".")[2] for entry in stored] == ["accepted", "routed"]
                assert stored[0].sequence == first
                assert slow.status()["routed"] == 0


async def fill(bus: Bus, first: int, count: int) -> int:
    story = Story()
    for number in range(first, first + count):
        after = await bus.log.append(story.accepted(f"t{number}"), after=0)
        after = await bus.log.append(story.routed(f"t{number}"), after=after)
        await bus.log.append(story.ended(f"t{number}", 100), after=after)
    return (await bus.log.info()).last


@asynccontextmanager
async def projecting(bridge: Bridge) -> AsyncIterator[None]:
    run = asyncio.create_task(bridge.run())
    try:
        yield
    finally:
        bridge.context.draining.set()
        await run


def reached(bridge: Bridge, sequence: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return int(str(bridge.status()["sequence"])) >= sequence

    return look


async def test_a_bridge_stopped_while_another_took_over_is_fenced_and_ends(
    nats: Natsd, kafka_bootstrap: str, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex[:12]
    mine = {"bootstrap": kafka_bootstrap, "prefix": f"{mark}.", "transactional_id": mark, "linger_ms": "0"}
    settings = KafkaSettings.model_validate(mine)
    log = tmp_path / "kafka.log"
    async with open_bus(nats.settings()) as bus:
        with child("kafka", nats, log, **{f"AION_KAFKA__{name.upper()}": value for name, value in mine.items()}) as old:
            last = await fill(bus, 0, 5)
            await until(figure_is(bus, "kafka", "sequence", last))
            os.kill(old.pid, signal.SIGSTOP)
            last = await fill(bus, 5, 5)  # on its way to the old one, which will find it when it goes on
            new = KafkaBridge(context(bus, "new"), settings)
            async with projecting(new):
                await until(reached(new, last))
                os.kill(old.pid, signal.SIGCONT)
                assert await asyncio.to_thread(old.wait, 30) != 0
                last = await fill(bus, 10, 5)
                await until(reached(new, last))
        report = await verify(bus, settings, 1, last)
    assert report.ok, report.examples
    assert b"taken_over" in log.read_bytes()


async def test_a_ledger_stopped_while_another_wrote_writes_nothing_twice(
    nats: Natsd, postgres_url: str, tmp_path: Path
) -> None:
    name = f"hang_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = f"{postgres_url.rsplit('/', 1)[0]}/{name}"
    settings = LedgerSettings.model_validate({"url": url, "linger_ms": 0})
    try:
        async with open_bus(nats.settings()) as bus:
            own = {"AION_POSTGRES__URL": url, "AION_POSTGRES__LINGER_MS": "0", "AION_POSTGRES__SILENCE_S": "2"}
            with child("ledger", nats, tmp_path / "ledger.log", **own) as old:
                last = await fill(bus, 0, 5)
                await until(figure_is(bus, "ledger", "sequence", last))
                os.kill(old.pid, signal.SIGSTOP)
                last = await fill(bus, 5, 5)
                new = Ledger(context(bus, "new"), settings)
                async with projecting(new):
                    await until(reached(new, last))
                os.kill(old.pid, signal.SIGCONT)
                await until(figure_is(bus, "ledger", "failures", 1))
                last = await fill(bus, 10, 5)
                await until(figure_is(bus, "ledger", "sequence", last))
        async with writing_connection(settings) as connection:
            (tasks,) = await connection.fetch("SELECT count(*), sum(attempts), sum(cost_nanousd) FROM tasks")
            (bills,) = await connection.fetch("SELECT count(*), sum(cost_nanousd) FROM usage_billing")
        assert (tuple(map(int, tasks)), tuple(map(int, bills))) == ((15, 15, 1500), (15, 1500))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
