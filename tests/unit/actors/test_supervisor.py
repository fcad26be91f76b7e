"""The supervisor on the twin: redelivery, slots, drains and failures."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from actors.runtime import Actor, GiveBack, Work
from actors.runtime.crew import redelivery_delay_s
from actors.runtime.drain import Reason
from actors.runtime.logs import open_logs
from actors.runtime.settings import RuntimeSettings
from actors.runtime.supervisor import Cast, Supervisor
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery
from schemas.events import Accepted, Brief
from schemas.ids import EventId, TaskId, TenantId
from schemas.task import Priority, Privacy

CURSOR = subjects.accepted(Priority.NORMAL)
SECRET = "the-secret-of-the-payload"


def accepted(number: int) -> Accepted:
    brief = Brief(
        intent="echo", priority=Priority.NORMAL, privacy=Privacy.LOCAL_ONLY, accepted_at_ms=1, deadline_ms=10**13
    )
    return Accepted(
        event_id=EventId(f"e-{number}"),
        tenant_id=TenantId("t"),
        task_id=TaskId(f"task-{number}"),
        at_ms=1,
        brief=brief,
        params={"text": SECRET},
        fingerprint="f",
    )


class Stage:
    """One server, one supervisor, and what its actors did."""

    def __init__(self, grace_s: float = 5.0) -> None:
        self.server = MemoryServer()
        self.bus = MemoryBus(self.server)
        self.logs = io.StringIO()
        self.grace_s = grace_s
        self.supervisor: Supervisor | None = None

    @asynccontextmanager
    async def open_bus(self) -> AsyncIterator[MemoryBus]:
        try:
            yield self.bus
        finally:
            self.bus.kill()

    def start(self, *actors: type[Actor]) -> "asyncio.Task[int]":
        cast = Cast([(actor, actor.settings_type()) for actor in actors])
        log = open_logs(RuntimeSettings(log_json=True), self.logs)
        self.supervisor = Supervisor(cast, self.open_bus, log, keep_s=900.0, grace_s=self.grace_s)
        return asyncio.ensure_future(self.supervisor.run())

    def drain(self, reason: Reason = Reason.SIGNAL) -> None:
        assert self.supervisor is not None
        self.supervisor.drain(reason)

    async def append(self, count: int) -> None:
        for number in range(count):
            await MemoryBus(self.server).log.append(accepted(number), after=0)

    def said(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.logs.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


def worker(handler: Callable[[Delivery], Any], *, slots: int = 2, called: str = "worker") -> type[Actor]:
    class Worker(Actor):
        name: ClassVar[str] = called

        def works(self) -> Sequence[Work]:
            return [Work(CURSOR, handler, slots)]

    return Worker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the twin has no event for what a test waits for
            await asyncio.sleep(0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_failed_delivery_comes_back_and_is_logged_once_without_its_payload(stage: Stage) -> None:
    seen: list[int] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivered)
        if len(seen) == 1:
            raise ValueError(SECRET)

    process = stage.start(worker(handle))
    await stage.append(1)
    await until(lambda: len(seen) == 2)
    stage.drain()
    assert await process == 0
    assert seen == [1, 2]
    assert [line["error"] for line in stage.said("handler_failed")] == ["ValueError"]
    assert SECRET not in stage.logs.getvalue()


async def test_a_handler_that_gives_back_is_no_failure(stage: Stage) -> None:
    seen: list[int] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivered)
        if delivery.delivered == 1:
            raise GiveBack(0)

    process = stage.start(worker(handle))
    await stage.append(1)
    await until(lambda: len(seen) == 2)
    stage.drain()
    assert await process == 0
    assert not stage.said("handler_failed")


async def test_no_more_handlers_run_than_there_are_slots(stage: Stage) -> None:
    gate, running, most, done = asyncio.Event(), 0, 0, 0

    async def handle(_: Delivery) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        done += 1

    process = stage.start(worker(handle, slots=3))
    await stage.append(10)
    await until(lambda: running == 3)
    gate.set()
    await until(lambda: done == 10)
    stage.drain()
    assert await process == 0
    assert most == 3


async def test_a_drain_finishes_what_is_in_flight_and_leaves_the_rest_to_others(stage: Stage) -> None:
    gate, mine, theirs = asyncio.Event(), [], []

    async def slow(delivery: Delivery) -> None:
        mine.append(delivery.entry.sequence)
        await gate.wait()

    async def quick(delivery: Delivery) -> None:
        theirs.append(delivery.entry.sequence)

    first = stage.start(worker(slow, slots=1))
    await stage.append(3)
    await until(lambda: mine == [1])
    stage.drain()
    other = Stage()
    other.server, other.bus = stage.server, MemoryBus(stage.server)
    second = other.start(worker(quick))
    await until(lambda: sorted(theirs) == [2, 3])
    assert not first.done()
    gate.set()
    assert await first == 0
    other.drain()
    assert await second == 0
    assert mine == [1]


async def test_what_outlives_the_grace_goes_to_another_replica() -> None:
    stage, other = Stage(grace_s=0), Stage()
    other.server, other.bus = stage.server, MemoryBus(stage.server)
    stuck, taken = asyncio.Event(), []

    async def hang(_: Delivery) -> None:
        stuck.set()
        await asyncio.Event().wait()

    async def take(delivery: Delivery) -> None:
        taken.append(delivery.entry.sequence)

    first = stage.start(worker(hang))
    await stage.append(1)
    await stuck.wait()
    second = other.start(worker(take))
    stage.drain()
    assert await first == 0
    await until(lambda: taken == [1])
    other.drain()
    assert await second == 0


async def test_an_actor_that_raises_drains_all_and_exits_1(stage: Stage) -> None:
    closed = []

    class Good(Actor):
        name: ClassVar[str] = "good"

        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            yield
            closed.append(self.name)

    class Bad(Actor):
        name: ClassVar[str] = "bad"

        async def run(self) -> None:
            raise RuntimeError("broken")

    assert await stage.start(Good, Bad) == 1
    assert closed == ["good"]
    assert [line["actor"] for line in stage.said("actor_failed")] == ["bad"]


async def test_an_actor_that_cannot_open_exits_1(stage: Stage) -> None:
    class Shut(Actor):
        name: ClassVar[str] = "shut"

        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            raise OSError("port taken")
            yield

    assert await stage.start(Shut) == 1


async def test_a_bus_that_is_gone_for_good_exits_75(stage: Stage) -> None:
    process = stage.start(worker(lambda _: asyncio.sleep(0)))
    await until(lambda: bool(stage.said("actor_started")))
    stage.bus.kill()
    assert await process == 75


async def test_a_run_that_ignores_the_drain_is_cancelled_after_the_grace() -> None:
    stage = Stage(grace_s=0)
    cancelled = []

    class Stubborn(Actor):
        name: ClassVar[str] = "stubborn"

        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

    process = stage.start(Stubborn)
    await until(lambda: bool(stage.said("actor_started")))
    stage.drain()
    assert await process == 0
    assert cancelled == [True]


async def test_a_drain_signal_reaches_the_named_actor_only(stage: Stage) -> None:
    async def handle(_: Delivery) -> None:
        return None

    process = stage.start(worker(handle, called="one"), worker(handle, called="two"))
    await until(lambda: len(stage.said("actor_started")) == 2)
    await MemoryBus(stage.server).signals.send(subjects.drain("one"))
    await until(lambda: len(stage.said("actor_drained")) == 1)
    seen = await MemoryBus(stage.server).rpc.discover()
    assert [service.name for service in seen] == ["two"]
    assert not process.done()
    stage.drain()
    assert await process == 0


async def test_discovery_shows_what_an_actor_does(stage: Stage) -> None:
    gate = asyncio.Event()

    async def handle(_: Delivery) -> None:
        await gate.wait()

    class Waiting(worker(handle, slots=4)):  # type: ignore[misc]
        name: ClassVar[str] = "waiting"

        def ready(self) -> str | None:
            return None if gate.is_set() else "the gate"

        def status(self) -> dict[str, object]:
            return {"models": 2}

    process = stage.start(Waiting)
    await stage.append(1)
    await until(lambda: bool(stage.said("actor_started")))
    supervisor = stage.supervisor
    assert supervisor is not None
    await until(lambda: supervisor.status()["waiting"]["in_flight"] == 1)
    (seen,) = await MemoryBus(stage.server).rpc.discover()
    assert seen.data["slots"] == 4
    assert seen.data["ready"] is False
    assert seen.data["waits_for"] == "the gate"
    assert seen.data["models"] == 2
    gate.set()
    stage.drain()
    assert await process == 0


async def test_every_actor_knows_the_window_and_how_long_a_task_may_take(stage: Stage) -> None:
    seen: list[tuple[float, float]] = []

    class Reader(Actor):
        name: ClassVar[str] = "reader"

        async def run(self) -> None:
            seen.append((self.context.keep_s, self.context.longest_task_s))
            stage.drain()

    assert await stage.start(Reader) == 0
    assert seen == [(900.0, 450.0)]


async def test_a_drain_asked_before_the_bus_opened_is_kept(stage: Stage) -> None:
    process = stage.start(worker(lambda _: asyncio.sleep(0)))
    stage.drain()
    assert await process == 0


@pytest.mark.parametrize("delivered", [1, 2, 5, 100, 10_000])
def test_redelivery_waits_between_a_fifth_of_a_second_and_half_a_minute(delivered: int) -> None:
    assert 0.2 <= redelivery_delay_s(delivered, 0.0) <= redelivery_delay_s(delivered, 0.999) <= 30
