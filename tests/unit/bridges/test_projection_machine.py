"""The projection against a model, in virtual time: killed, stopped, rivalled and broken between any two steps."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeVar

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulation.loop import Process, VirtualLoop
from story import NOW_MS, Story

from actors.runtime.actor import Context
from bridges.position import Batch, Position
from bridges.projection import Projection, ProjectionSettings
from bus.memory import MemoryBus, MemoryServer
from schemas.errors import TakenOver

T = TypeVar("T")
STEPS = ("open", "position", "prepare", "begin", "commit", "committed")
SETTINGS = ProjectionSettings(batch_events=3, linger_ms=10)


class Store:
    """What survives: rows and position change together, at `commit` alone. Opening it shuts out earlier writers."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.at: Position | None = None
        self.epoch = 0
        self.breaks: list[str] = []
        self.misused = 0  # batches that did not begin where the one before ended

    async def step(self, name: str) -> None:
        await asyncio.sleep(0.01)
        if name in self.breaks:
            self.breaks.remove(name)
            raise ConnectionError(f"broke at {name}")

    @asynccontextmanager
    async def open(self) -> AsyncIterator["StoreSink"]:
        await self.step("open")
        self.epoch += 1
        yield StoreSink(self, self.epoch)


class StoreSink:
    """One writer's life."""

    def __init__(self, store: Store, epoch: int) -> None:
        self._store = store
        self._epoch = epoch

    async def claim(self) -> bool:
        return True

    async def position(self) -> Position | None:
        await self._store.step("position")
        return self._store.at

    async def prepare(self, batch: Batch) -> None:
        await self._store.step("prepare")

    async def write(self, batch: Batch) -> None:
        store = self._store
        await store.step("begin")
        await store.step("commit")
        if self._epoch != store.epoch:
            raise TakenOver("another writes")
        if batch.after != store.at:
            store.misused += 1
        store.rows += [entry.sequence for entry in batch.entries]
        store.at = batch.up_to
        await store.step("committed")


class Life:
    """One process that projects."""

    def __init__(self, loop: VirtualLoop, server: MemoryServer, store: Store) -> None:
        self.process = Process("bridge")
        context = self.process.context()
        self.bus: MemoryBus = context.run(MemoryBus, server)
        rng = Random(1)
        self.context = Context(self.bus, "one", structlog.get_logger(), lambda: NOW_MS, rng)
        projection = Projection("fake", self.context, store.open, SETTINGS)
        self.running: asyncio.Task[None] = loop.create_task(_until_taken_over(projection), context=context)


async def _until_taken_over(projection: Projection) -> None:
    try:
        await projection.run()
    except TakenOver:
        return


class ProjectionMachine(RuleBasedStateMachine):
    """At any moment the rows are the log's beginning, each once; at rest they are all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop(Random(1))
        self.store = Store()
        self.server, self.writer = self.run(self._serve())
        self.stored = 0
        self.lives: list[Life] = []
        self.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    async def _serve(self) -> tuple[MemoryServer, MemoryBus]:
        server = MemoryServer()
        return server, MemoryBus(server)

    async def _start(self) -> Life:
        return Life(self.loop, self.server, self.store)

    @rule(count=st.integers(1, 7))
    def log_grows(self, count: int) -> None:
        for _ in range(count):
            self.stored += 1
            self.run(self.writer.log.append(Story().accepted(f"t{self.stored}"), after=0))

    @rule(seconds=st.sampled_from([0.005, 0.015, 0.03, 0.1, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @precondition(lambda self: len(self.lives) < 4)
    @rule()
    def start(self) -> None:
        """One more; the one before is shut out, wherever it stands."""
        self.lives.append(self.run(self._start()))

    @rule(step=st.sampled_from(STEPS))
    def sink_breaks(self, step: str) -> None:
        self.store.breaks.append(step)

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        life = self.lives.pop(data.draw(st.integers(0, len(self.lives) - 1)))
        self.loop.kill_process(life.process)
        self.run(self._cut(life))

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def stop_or_resume(self, data: st.DataObject) -> None:
        process = data.draw(st.sampled_from(self.lives)).process
        if process.halted:
            self.loop.resume_process(process)
        else:
            self.loop.stop_process(process)

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def lose_or_restore(self, data: st.DataObject) -> None:
        self.run(self._switch(data.draw(st.sampled_from(self.lives)).bus))

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.lives)).context.draining.set()

    @invariant()
    def the_rows_are_the_beginning_of_the_log(self) -> None:
        assert self.store.rows == list(range(1, len(self.store.rows) + 1))
        assert not self.store.misused
        assert (self.store.at.sequence if self.store.at else 0) == len(self.store.rows)

    async def _cut(self, life: Life) -> None:
        life.bus.kill()

    async def _switch(self, bus: MemoryBus) -> None:
        (bus.lose if bus.connected else bus.restore)()

    def teardown(self) -> None:
        try:
            self.store.breaks.clear()
            for life in self.lives:
                self.loop.kill_process(life.process)
            self.lives.append(self.run(self._start()))
            self.run(asyncio.sleep(30.0))
            assert len(self.store.rows) == self.stored
            self.the_rows_are_the_beginning_of_the_log()
            assert self.loop.finish() == []
        finally:
            self.loop.finish()
            self.loop.close()


ProjectionMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30)
TestProjection = ProjectionMachine.TestCase
