"""Reading on from a position: the log and the token stream are walked by the same reader."""

import asyncio
from collections.abc import Callable, Sequence

from bus.memory.link import Bell, Link
from bus.port import Entry


class MemoryReader:
    """A position and where to look after it. It never restarts: the twin's server does not forget who reads."""

    restarts = 0

    def __init__(
        self,
        link: Link,
        stored: Bell,
        fetch: Callable[[int], Sequence[Entry]],
        after: int,
        batch: int = 1,
        linger_s: float = 0.0,
    ) -> None:
        self._link = link
        self._stored = stored
        self._fetch = fetch
        self._position = after
        self._batch = batch
        self._linger_s = linger_s

    @property
    def pending(self) -> int:
        """See `bus.port.Reader.pending`; counted up to one batch."""
        return len(self._fetch(self._position))

    async def next(self, timeout_s: float) -> Sequence[Entry]:
        """See `bus.port.Reader.next`. Raises `BusDisconnected` when the connection is cut."""
        await asyncio.sleep(0)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            found = self._found()
            left_s = deadline - asyncio.get_running_loop().time()
            if found or left_s <= 0:
                break
            await self._stored.wait_at_most(left_s)
        if self._linger_s and 0 < len(found) < self._batch:
            await asyncio.sleep(self._linger_s)
            found = self._found()
        if found:
            self._position = found[-1].sequence
        return found

    def _found(self) -> Sequence[Entry]:
        """What follows the position; nothing while the connection is away."""
        self._link.check_alive()
        return self._fetch(self._position) if self._link.up else ()
