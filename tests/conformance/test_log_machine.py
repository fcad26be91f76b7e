"""The log against a model, step by step: what was stored, in which order, and who was refused."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from simulation.loop import VirtualLoop

from bus import Bus
from bus.memory import MemoryBus, MemoryServer
from bus.port import Entry
from schemas.errors import LogFull, Unavailable, WrongSequence
from schemas.events import TaskEvent
from schemas.ids import TaskId, TenantId
from schemas.message import changed

T = TypeVar("T")
NUMBERS = itertools.count()
TASKS = [TaskId(f"t{number}") for number in range(3)]


class LogMachine(RuleBasedStateMachine):
    """`stored` is what the log must hold of this machine's own tenant; a real server keeps earlier machines' events."""

    def __init__(self, ground: Any, given: Any) -> None:
        super().__init__()
        self._given = given
        self.tenant = TenantId(f"tenant{next(NUMBERS)}")
        self.twin: MemoryServer | None = ground.server if hasattr(ground, "server") else None
        self.loop: Any = VirtualLoop(Random(1)) if self.twin else asyncio.new_event_loop()
        self._open = contextlib.AsyncExitStack()
        self.bus: Bus = self.run(self._open.enter_async_context(ground.bus()))
        self.begin = self.run(self.bus.log.info()).last
        self.stored: list[tuple[int, TaskEvent]] = []

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Until it is done; between two steps the loop stands still."""
        if isinstance(self.loop, VirtualLoop):
            return self.loop.run(coroutine)
        done: T = self.loop.run_until_complete(coroutine)
        return done

    def teardown(self) -> None:
        self.run(self._open.aclose())
        if isinstance(self.loop, VirtualLoop):
            assert self.loop.finish() == []
        self.loop.close()

    def of(self, task: TaskId) -> list[tuple[int, TaskEvent]]:
        """The model's events of one task."""
        return [(sequence, event) for sequence, event in self.stored if event.task_id == task]

    def last(self, task: TaskId) -> int:
        """The sequence that the task's next event must name."""
        return max((sequence for sequence, _ in self.of(task)), default=0)

    def event(self, task: TaskId) -> TaskEvent:
        """The next of a task's story."""
        kinds = (self._given.accepted, self._given.routed, self._given.ended)
        made: TaskEvent = changed(kinds[min(len(self.of(task)), 2)](task), tenant_id=self.tenant)
        return made

    @rule(task=st.sampled_from(TASKS))
    def append(self, task: TaskId) -> None:
        event = self.event(task)
        sequence = self.run(self.bus.log.append(event, after=self.last(task)))
        assert sequence > max((stored for stored, _ in self.stored), default=self.begin)
        self.stored.append((sequence, event))

    @rule(task=st.sampled_from(TASKS), off=st.integers(1, 5))
    def append_after_something_else(self, task: TaskId, off: int) -> None:
        with pytest.raises(WrongSequence):
            self.run(self.bus.log.append(self.event(task), after=self.last(task) + off))

    @precondition(lambda self: self.stored)
    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        sequence, event = data.draw(st.sampled_from(self.stored))
        earlier = [stored for stored, _ in self.of(event.task_id) if stored < sequence]
        assert self.run(self.bus.log.append(event, after=max(earlier, default=0))) == sequence

    @rule(task=st.sampled_from(TASKS))
    def race(self, task: TaskId) -> None:
        """Two at once for the same place: one is stored."""
        one, two, after = self.event(task), self.event(task), self.last(task)

        async def both() -> list[int | BaseException]:
            appends = (self.bus.log.append(event, after=after) for event in (one, two))
            return await asyncio.gather(*appends, return_exceptions=True)

        results = self.run(both())
        won = [(result, event) for result, event in zip(results, (one, two), strict=True) if isinstance(result, int)]
        assert len(won) == 1, results
        assert any(isinstance(result, WrongSequence) for result in results)
        self.stored += won

    @precondition(lambda self: self.twin)
    @rule(task=st.sampled_from(TASKS))
    def lose_the_acknowledgement(self, task: TaskId) -> None:
        assert self.twin is not None
        event, after = self.event(task), self.last(task)
        self.twin.lose_next_ack()
        with pytest.raises(Unavailable):
            self.run(self.bus.log.append(event, after=after, timeout_s=1.0))
        self.stored.append((self.run(self.bus.log.append(event, after=after)), event))

    @precondition(lambda self: self.twin)
    @rule(task=st.sampled_from(TASKS))
    def fill(self, task: TaskId) -> None:
        assert self.twin is not None
        room, self.twin.log.max_bytes = self.twin.log.max_bytes, self.run(self.bus.log.info()).size_bytes
        with pytest.raises(LogFull):
            self.run(self.bus.log.append(self.event(task), after=self.last(task)))
        self.twin.log.max_bytes = room

    @precondition(lambda self: isinstance(self.bus, MemoryBus))
    @rule()
    def be_away(self) -> None:
        assert isinstance(self.bus, MemoryBus)
        self.bus.lose()
        with pytest.raises(Unavailable):
            self.run(self.bus.log.info())
        self.bus.restore()

    @rule(skip=st.integers(0, 10), batch=st.integers(1, 4))
    def read_on(self, skip: int, batch: int) -> None:
        """From any position: everything after it, in order, once."""
        wanted = [stored for stored, _ in self.stored][skip:]
        after = [self.begin, *(stored for stored, _ in self.stored)][min(skip, len(self.stored))]

        async def read() -> list[Entry]:
            found: list[Entry] = []
            async with self.bus.log.read(after, batch=batch) as reader:
                while len(found) < len(wanted):
                    more = await reader.next(5.0)
                    assert 1 <= len(more) <= batch
                    found += more
            return found

        assert [entry.sequence for entry in self.run(read())] == wanted

    @rule(task=st.sampled_from(TASKS))
    def look(self, task: TaskId) -> None:
        entries = self.run(self.bus.log.events(self.tenant, task))
        assert [(entry.sequence, entry.event()) for entry in entries] == self.of(task)
        last = self.run(self.bus.log.last(self.tenant, task))
        assert last == (entries[-1] if entries else None)

    @invariant()
    def nothing_else_was_stored(self) -> None:
        assert self.run(self.bus.log.info()).last == max((stored for stored, _ in self.stored), default=self.begin)


def test_a_log_does_what_its_model_does(ground: Any, given: Any) -> None:
    twin = hasattr(ground, "server")
    bounds = settings(max_examples=60 if twin else 6, stateful_step_count=30 if twin else 20)

    class Grounded(LogMachine):
        def __init__(self) -> None:
            super().__init__(ground, given)

    run_state_machine_as_test(Grounded, settings=bounds)
