"""The queue port of one connection: takers and their deliveries."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bus.memory.cursor import CursorState
from bus.memory.link import Bell, Link
from bus.memory.server import MemoryServer
from bus.port import DEFAULT_TIMEOUT_S, Entry, Taker, TakerStopped
from bus.subjects import Cursor


class MemoryDelivery:
    """`bus.port.Delivery`; answering it twice is an error of the caller and raises `RuntimeError`."""

    def __init__(self, taker: "MemoryTaker", entry: Entry, delivered: int) -> None:
        self._taker = taker
        self._answered = False
        self.entry = entry
        self.delivered = delivered

    async def done(self) -> None:
        """See `bus.port.Delivery.done`."""
        self._answer()
        self._taker.answer(self, None)
        await asyncio.sleep(0)

    async def give_back(self, delay_s: float = 0.0) -> None:
        """See `bus.port.Delivery.give_back`."""
        self._answer()
        self._taker.answer(self, delay_s)
        await asyncio.sleep(0)

    def _answer(self) -> None:
        if self._answered:
            raise RuntimeError(f"delivery of {self.entry.sequence} was answered already: call done or give_back once")
        self._answered = True


class MemoryTaker:
    """`bus.port.Taker`: one share of a cursor."""

    def __init__(self, state: CursorState, link: Link, slots: int) -> None:
        self._state = state
        self._link = link
        self._slots = slots
        self._held: dict[MemoryDelivery, None] = {}
        self._ready: deque[MemoryDelivery] = deque()
        self._changed = Bell()
        self._stopped = False
        self._tick: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """Slots that hold nothing; none once stopped, and while the connection is away."""
        return 0 if self._stopped or not self._link.up else self._slots - len(self._held)

    def open(self) -> None:
        """Join the cursor and begin to report progress."""
        self._report_progress()
        self._state.join(self)

    def hand(self, entry: Entry, delivered: int) -> None:
        """The cursor delivers one."""
        delivery = MemoryDelivery(self, entry, delivered)
        self._held[delivery] = None
        self._ready.append(delivery)
        self._changed.ring()

    async def get(self) -> MemoryDelivery:
        """See `bus.port.Taker.get`."""
        while True:
            self._link.check_alive()
            if self._stopped:
                raise TakerStopped(f"{self._state.cursor.name} was stopped")
            if self._ready:
                return self._ready.popleft()
            await self._changed.wait()

    async def stop(self) -> None:
        """See `bus.port.Taker.stop`."""
        self._stopped = True
        self._state.leave(self)
        while self._ready:
            self.answer(self._ready.popleft(), 0.0)
        self._changed.ring()
        await asyncio.sleep(0)

    def answer(self, delivery: MemoryDelivery, delay_s: float | None) -> None:
        """Done (None) or given back; free the slot. Too late or over a lost connection, nothing reaches the server."""
        if self._held.pop(delivery, self) is self or not self._link.up:
            return
        sequence = delivery.entry.sequence
        if delay_s is None:
            self._state.done(sequence)
        else:
            self._state.give_back(sequence, delay_s)
            self._state.pump()

    def resume(self) -> None:
        """The connection is back: pull again."""
        self._state.pump()

    def vanish(self) -> None:
        """The process is gone: no more pulls, no progress, no answers."""
        self._state.leave(self)
        if self._tick is not None:
            self._tick.cancel()
        self._changed.ring()

    async def close(self) -> None:
        """Give back whatever is unanswered."""
        await self.stop()
        for delivery in list(self._held):
            self.answer(delivery, 0.0)

    def _report_progress(self) -> None:
        for delivery in self._held if self._link.up else ():
            self._state.progress(delivery.entry.sequence)
        every_s = self._state.cursor.ack_wait_s / 3
        self._tick = asyncio.get_running_loop().call_later(every_s, self._report_progress)


class MemoryQueue:
    """`bus.port.Queue` over the server's cursors."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._server = server
        self._link = link

    @asynccontextmanager
    async def take(self, cursor: Cursor, *, slots: int) -> AsyncIterator[Taker]:
        """See `bus.port.Queue.take`."""
        if slots < 1:
            raise ValueError(f"{slots} slots take nothing: use at least 1")
        self._link.check()
        taker = MemoryTaker(self._server.cursor(cursor), self._link, slots)
        with self._link.holding(taker.vanish, taker.resume):
            taker.open()
            try:
                yield taker
            finally:
                await taker.close()

    async def pending(self, cursor: Cursor, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Queue.pending`."""
        self._link.check()
        await asyncio.sleep(0)
        return self._server.cursor(cursor).ahead()

    async def backlog(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Queue.backlog`."""
        self._link.check()
        await asyncio.sleep(0)
        return self._server.backlog()
