"""Reading on from a position: the log and the token stream are walked by the same reader."""

import asyncio
from collections.abc import Callable, Sequence

from bus.memory.link import Bell, Link
from bus.port import Entry


class MemoryReader:
    """A position and where to look after it."""

    def __init__(self, link: Link, stored: Bell, fetch: Callable[[int], Sequence[Entry]], after: int) -> None:
        self._link = link
        self._stored = stored
        self._fetch = fetch
        self._position = after

    async def next(self, timeout_s: float) -> Sequence[Entry]:
        """See `bus.port.Reader.next`. Raises `BusDisconnected` when the connection is cut."""
        await asyncio.sleep(0)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            self._link.check()
            found = self._fetch(self._position)
            left_s = deadline - asyncio.get_running_loop().time()
            if found or left_s <= 0:
                break
            await self._stored.wait_at_most(left_s)
        if found:
            self._position = found[-1].sequence
        return found
