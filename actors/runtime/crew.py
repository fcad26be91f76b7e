"""One share of the work queue being worked off: takes, hands to the handler, answers."""

import asyncio
from random import Random

from structlog.typing import FilteringBoundLogger

from actors.runtime.actor import GiveBack, Work
from actors.runtime.logs import failure
from actors.runtime.suspects import Suspects
from bus.port import Bus, Delivery, Taker, TakerStopped
from bus.waiting import timeout
from schemas.errors import AionError

REOPEN_DELAY_S = 1.0


def redelivery_delay_s(delivered: int, chance: float) -> float:
    """How long a delivery that failed for the `delivered`-th time rests: 0.2 to 30 s, doubling, spread by `chance`.

    `chance` is uniform in [0, 1); the spread keeps tasks that failed together from coming back together.
    """
    base = min(15.0, 0.2 * 2.0 ** min(delivered - 1, 16))
    return base * (1.0 + chance)


class Crew:
    """Runs one `Work` until stopped. `slots` bounds its handlers, because the taker hands out no more than that."""

    def __init__(self, work: Work, bus: Bus, log: FilteringBoundLogger, rng: Random, suspects: Suspects) -> None:
        self._work = work
        self._suspects = suspects
        self._bus = bus
        self._log = log.bind(cursor=work.cursor.name)
        self._rng = rng
        self._taker: Taker | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.done = 0
        self.failed = 0
        self.given_back = 0

    @property
    def in_flight(self) -> int:
        """Handlers running now."""
        return len(self._handlers)

    @property
    def slots(self) -> int:
        """The most handlers that ever run at once."""
        return self._work.slots

    async def run(self) -> None:
        """Work until `stop`, then return once every handler has ended. A cursor that cannot be opened is retried."""
        while not self._stopping.is_set():
            try:
                async with self._bus.queue.take(self._work.cursor, slots=self._work.slots) as taker:
                    await self._take_from(taker)
            except AionError as error:
                self._log.warning("cursor_lost", again_in_s=REOPEN_DELAY_S, **failure(error))
                await self._rest(REOPEN_DELAY_S)

    async def stop(self) -> None:
        """Pull nothing more; what runs goes on. Idempotent."""
        self._stopping.set()
        if self._taker is not None:
            await self._taker.stop()

    def abort(self) -> None:
        """Cancel every handler; leaving the cursor then gives back what they held."""
        for handler in self._handlers:
            handler.cancel()

    async def _take_from(self, taker: Taker) -> None:
        self._taker = taker
        if self._stopping.is_set():
            await taker.stop()
        try:
            async with asyncio.TaskGroup() as handlers:
                await self._hand_out(taker, handlers)
        finally:
            self._taker = None

    async def _hand_out(self, taker: Taker, handlers: asyncio.TaskGroup) -> None:
        while True:
            try:
                delivery = await taker.get()
            except TakerStopped:
                return
            except AionError as error:
                self._log.warning("cursor_lost", again_in_s=REOPEN_DELAY_S, **failure(error))
                await self._rest(REOPEN_DELAY_S)
                return
            task = handlers.create_task(self._handle(delivery))
            self._handlers.add(task)
            task.add_done_callback(self._handlers.discard)

    async def _handle(self, delivery: Delivery) -> None:
        delay_s = await self._outcome(delivery)
        if delay_s is None:
            await delivery.done()
        else:
            await delivery.give_back(delay_s)

    async def _outcome(self, delivery: Delivery) -> float | None:
        """None when the work is done, else after how long another may try."""
        try:
            await self._answer(delivery)
        except GiveBack as again:
            self.given_back += 1
            return again.delay_s
        except Exception as error:
            self.failed += 1
            delay_s = redelivery_delay_s(delivery.delivered, self._rng.random())
            sequence, delivered = delivery.entry.sequence, delivery.delivered
            about = {"sequence": sequence, "delivered": delivered, "again_in_s": round(delay_s, 3)}
            self._log.error("handler_failed", **about, **failure(error))
            return delay_s
        self.done += 1
        return None

    async def _answer(self, delivery: Delivery) -> None:
        work = self._work
        if work.give_up is None:
            await work.handler(delivery)
        else:
            await self._suspects.attempt(delivery, work.handler, work.give_up)

    async def _rest(self, delay_s: float) -> None:
        try:
            async with timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return
