"""Work that the processes before this one did not survive, perhaps because of it: counted, and then tried alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from structlog.typing import FilteringBoundLogger

from bus.port import Delivery, Kv
from bus.subjects import SUSPECTS
from schemas.errors import AionError

TRUSTED: Final = 2
"""Deliveries that are not counted: most of what comes a second time was given back, or its owner was stopped."""
MOST_LOST: Final = 3
"""Counted tries that nobody came back from; then the work is given up. So it costs `TRUSTED + MOST_LOST` processes."""
ALONE_S: Final = 5.0
"""How long one that was lost before keeps the others of its kind waiting: what kills, mostly kills at once."""
KEEP_S: Final = 600.0

Handler = Callable[[Delivery], Awaitable[None]]


class Suspects:
    """Counts, in the bucket `SUSPECTS`, the tries of a delivery that ended without a word: its process was gone.

    What was lost once is tried alone among its kind, so that its neighbours are not lost with it again. A process that
    lives, and says how a try ended, clears the work of all suspicion. One for each actor.
    """

    def __init__(self, kv: Kv, log: FilteringBoundLogger) -> None:
        self._kv = kv
        self._log = log
        self._alone = asyncio.Lock()

    async def attempt(self, delivery: Delivery, handler: Handler, give_up: Handler) -> None:
        """Run `handler`, or `give_up` when too many tries were lost. Raises what they raise, and `AionError`.

        A try that cannot be counted is none: it raises.
        """
        key = f"{delivery.entry.subject}.{delivery.entry.sequence}"
        if await self._lost(key):
            async with self._turn():
                await self._count(key, delivery, handler, give_up)
        else:
            await self._count(key, delivery, handler, give_up)

    async def _count(self, key: str, delivery: Delivery, handler: Handler, give_up: Handler) -> None:
        lost = await self._lost(key)  # again: it may have waited for its turn
        if lost >= MOST_LOST:
            self._log.error("work_given_up", sequence=delivery.entry.sequence, lost=lost)
            await give_up(delivery)
            return
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

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._alone.acquire()
        held = True

        def let_go() -> None:
            nonlocal held
            if held:
                held = False
                self._alone.release()

        timer = asyncio.get_running_loop().call_later(ALONE_S, let_go)
        try:
            yield
        finally:
            timer.cancel()
            let_go()
