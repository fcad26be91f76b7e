"""The work queue against a model, in virtual time: whatever happens to takers, what is not done comes again."""

import asyncio
import contextlib
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulation.loop import VirtualLoop
from story import Story

from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery, Taker
from bus.subjects import Cursor

T = TypeVar("T")
CURSOR = Cursor("machine", "aion.task.accepted.>", ack_wait_s=3.0, max_ack_pending=5)
SLOTS = 2


class Share:
    """One open share of the cursor, as a process has it; `held` are the deliveries that it has not answered."""

    def __init__(self, bus: MemoryBus, taker: Taker, stack: contextlib.AsyncExitStack) -> None:
        self.bus = bus
        self.taker = taker
        self.stack = stack
        self.held: list[Delivery] = []


class QueueMachine(RuleBasedStateMachine):
    """`undone` are the entries that nobody has done over a connection that was up."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop(Random(1))
        self.server = self.run(self._serve())
        self.writer = self.run(self._connect())
        self.shares = [self.run(self._open()) for _ in range(2)]
        self.dead: list[Share] = []
        self.stored = 0
        self.undone: set[int] = set()
        self.handed: set[tuple[int, int]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    async def _serve(self) -> MemoryServer:
        return MemoryServer()

    async def _connect(self) -> MemoryBus:
        return MemoryBus(self.server)

    async def _open(self) -> Share:
        stack = contextlib.AsyncExitStack()
        bus = MemoryBus(self.server)
        return Share(bus, await stack.enter_async_context(bus.queue.take(CURSOR, slots=SLOTS)), stack)

    @rule()
    def store(self) -> None:
        self.stored += 1
        event = Story().accepted(f"t{self.stored}")
        assert self.run(self.writer.log.append(event, after=0)) == self.stored
        self.undone.add(self.stored)

    @rule(number=st.integers(0, 1))
    def take(self, number: int) -> None:
        """What is there at once; what was pulled before and is done by now still comes, under its own number."""
        self.run(self._take(self.shares[number]))

    async def _take(self, share: Share) -> None:
        waiting = asyncio.create_task(share.taker.get())
        await asyncio.sleep(0.001)
        if not waiting.done():
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            return
        delivery = waiting.result()
        handed = (delivery.entry.sequence, delivery.delivered)
        assert handed not in self.handed, f"{handed} was handed out twice"
        self.handed.add(handed)
        share.held.append(delivery)

    @precondition(lambda self: any(share.held for share in self.shares))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        share = data.draw(st.sampled_from([share for share in self.shares if share.held]))
        delivery = share.held.pop(data.draw(st.integers(0, len(share.held) - 1)))
        delay_s = data.draw(st.sampled_from([None, 0.0, 1.0, 10.0]))
        if delay_s is not None:
            self.run(delivery.give_back(delay_s))
            return
        if share.bus.connected:
            self.undone.discard(delivery.entry.sequence)
        self.run(delivery.done())

    @rule(number=st.integers(0, 1))
    def crash(self, number: int) -> None:
        share = self.shares[number]
        share.bus.kill()
        self.dead.append(share)
        self.shares[number] = self.run(self._open())

    @rule(number=st.integers(0, 1))
    def leave(self, number: int) -> None:
        share = self.shares[number]
        self.run(share.stack.aclose())
        self.shares[number] = self.run(self._open())

    @rule(number=st.integers(0, 1))
    def lose_or_restore(self, number: int) -> None:
        bus = self.shares[number].bus
        self.run(self._switch(bus))

    async def _switch(self, bus: MemoryBus) -> None:
        (bus.lose if bus.connected else bus.restore)()

    @rule(seconds=st.sampled_from([0.5, 2.0, 4.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def nobody_holds_more_than_was_asked(self) -> None:
        assert all(len(share.held) <= SLOTS for share in self.shares)

    def teardown(self) -> None:
        """Heal, and answer everything: nothing is left, and nothing comes that was done."""
        try:
            self.run(self._finish())
            assert not self.undone
            assert not any(share.held for share in self.shares), "something comes again though all is done"
        finally:
            self.loop.finish()
            self.loop.close()

    async def _finish(self) -> None:
        for share in self.shares:
            if not share.bus.connected:
                share.bus.restore()
        for _ in range(60):
            for share in self.shares:
                for delivery in share.held:
                    self.undone.discard(delivery.entry.sequence)
                    await delivery.done()
                share.held.clear()
            await asyncio.sleep(0.5)
            for share in self.shares:
                await self._take(share)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueue = QueueMachine.TestCase
