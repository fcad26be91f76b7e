"""The signals port of one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context

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
        for pattern, deliver in list(self._listeners.values()):
            if matches(pattern, subject):
                deliver(subject)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def listen(self, pattern: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """See `bus.port.Signals.listen`."""
        key, context = object(), copy_context()

        def pass_on(subject: str) -> None:
            if self._link.up:
                asyncio.get_running_loop().call_soon(deliver, subject, context=context)

        def deliver(subject: str) -> None:
            if key in self._listeners:
                callback(subject)

        def forget() -> None:
            self._listeners.pop(key, None)

        with self._link.holding(forget):
            self._listeners[key] = (pattern, pass_on)
            yield
