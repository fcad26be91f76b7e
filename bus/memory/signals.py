"""The signals port of one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bus.matching import matches
from bus.memory.link import Link
from bus.memory.server import MemoryServer


class MemorySignals:
    """`bus.port.Signals` over the server's subscriptions."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._listeners = server.listeners
        self._link = link

    async def send(self, subject: str) -> None:
        """See `bus.port.Signals.send`."""
        self._link.check()
        loop = asyncio.get_running_loop()
        for key, (pattern, _) in self._listeners.items():
            if matches(pattern, subject):
                loop.call_soon(self._deliver, key, subject)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def listen(self, pattern: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """See `bus.port.Signals.listen`."""
        key = object()

        def forget() -> None:
            self._listeners.pop(key, None)

        with self._link.holding(forget):
            self._listeners[key] = (pattern, callback)
            yield

    def _deliver(self, key: object, subject: str) -> None:
        if key in self._listeners:
            self._listeners[key][1](subject)
