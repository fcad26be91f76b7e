"""Work that the processes before this one did not survive, perhaps because of it: counted, and then tried alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from structlog.typing import FilteringBoundLogger

from bus.port import Delivery, Kv
from bus.subjects import SUSPECTS
from bus.waiting import wait_at_most
from schemas.errors import AionError

TRUSTED: Final = 2
"""Deliveries that are not counted: most of what comes a second time was given back, or its owner was stopped."""
MOST_LOST: Final = 3
"""Counted tries that nobody came back from; then the work is given up. So it costs `TRUSTED + MOST_LOST` processes."""
ALONE_S: Final = 5.0
"""How long one waits for the others to be done before it is alone, and is alone: what kills, mostly kills at once."""
KEEP_S: Final = 600.0

Handler = Callable[[Delivery], Awaitable[None]]


class Suspects:
    """Counts, in the bucket `SUSPECTS`, the tries of a delivery that ended without a word: its process was gone.

    What was lost once is tried alone, so that whoever is lost then is lost with nobody else. A process that lives, and
    says how a try ended, clears the work of all suspicion. One for each actor, all of whose work passes here.
    """

    def __init__(self, kv: Kv, log: FilteringBoundLogger) -> None:
        self._kv = kv
        self._log = log
        self._room = Room()

    async def attempt(self, delivery: Delivery, handler: Handler, give_up: Handler) -> None:
        """Run `handler`, or `give_up` when too many tries were lost. Raises what they raise, and `AionError`.

        A try that cannot be counted is none: it raises.
        """
        if delivery.delivered > TRUSTED:
            await self._suspect(delivery, handler, give_up)
            return
        await self._room.enter()
        try:
            await handler(delivery)
        finally:
            self._room.leave()

    async def _suspect(self, delivery: Delivery, handler: Handler, give_up: Handler) -> None:
        key = f"{delivery.entry.subject}.{delivery.entry.sequence}"
        if await self._lost(key):
            async with self._room.alone():
                lost = await self._lost(key)  # again: it has waited
                if lost >= MOST_LOST:
                    self._log.error("work_given_up", sequence=delivery.entry.sequence, lost=lost)
                    await give_up(delivery)
                else:
                    await self._count(key, lost, delivery, handler)
            return
        await self._room.enter()
        try:
            await self._count(key, 0, delivery, handler)
        finally:
            self._room.leave()

    async def _count(self, key: str, lost: int, delivery: Delivery, handler: Handler) -> None:
        await self._kv.put(SUSPECTS, key, str(lost + 1).encode(), ttl_s=KEEP_S)
        try:
            await handler(delivery)
        finally:
            await self._clear(key)

    async def _lost(self, key: str) -> int:
        stored = await self._kv.get(SUSPECTS, key)
        return 0 if stored is None else int(stored.value)

    async def _clear(self, key: str) -> None:
        try:
            await self._kv.delete(SUSPECTS, key)
        except AionError as error:  # one try too many is counted, for `KEEP_S`
            self._log.info("suspect_not_cleared", code=error.code)


class Room:
    """Any number may be inside, or one that is alone.

    Nobody is kept out for long: one that lasts is alone for a while only, and between two all others get in that wait.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._empty = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._one = asyncio.Lock()

    async def enter(self) -> None:
        """Be inside, until `leave`."""
        while not self._open.is_set():
            await self._open.wait()
        self._inside += 1

    def leave(self) -> None:
        """Whoever waits to be alone may be."""
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside, at first alone: others have `ALONE_S` to leave, and after that again let it be one of many."""
        await self._one.acquire()
        alone = True

        def let_in() -> None:
            nonlocal alone
            if alone:
                alone = False
                self._inside += 1
                self._open.set()  # first, so that who waits outside is in before the next one closes the room
                self._one.release()

        self._open.clear()
        timer: asyncio.TimerHandle | None = None
        try:
            self._empty.clear()
            if self._inside:
                await wait_at_most(self._empty, ALONE_S)
            timer = asyncio.get_running_loop().call_later(ALONE_S, let_in)
            yield
        finally:
            if timer is not None:
                timer.cancel()
            let_in()
            self.leave()
