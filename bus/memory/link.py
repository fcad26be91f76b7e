"""What holds a twin together: the life of one connection, and waking those who wait."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bus.waiting import timeout
from schemas.errors import BusDisconnected


class Bell:
    """Wakes everyone who waits, in the order they came. Check the condition first, then wait: nothing is remembered."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}

    def ring(self) -> None:
        """Wake all who wait now."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Returns at the next ring."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            del self._waiting[future]

    async def wait_at_most(self, timeout_s: float) -> None:
        """Returns at the next ring or after `timeout_s`, whichever is first."""
        try:
            async with timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            return


class Link:
    """One connection: alive until `cut`, after which everything that goes over it raises `BusDisconnected`."""

    def __init__(self) -> None:
        self._held: dict[object, Callable[[], None]] = {}
        self._gone = asyncio.Event()

    @property
    def alive(self) -> bool:
        """Whether it was not cut."""
        return not self._gone.is_set()

    def check(self) -> None:
        """Raise `BusDisconnected` once the connection is cut."""
        if self._gone.is_set():
            raise BusDisconnected("the connection to the bus is closed: open a new one")

    async def gone(self) -> None:
        """Returns once the connection is cut."""
        await self._gone.wait()

    @contextmanager
    def holding(self, release: Callable[[], None]) -> Iterator[None]:
        """Call `release` once: when the block is left, or earlier when the connection is cut."""
        self.check()
        key = object()
        self._held[key] = release
        try:
            yield
        finally:
            if self._held.pop(key, None) is not None:
                release()

    def cut(self) -> None:
        """End the connection: the server forgets its subscriptions; idempotent."""
        self._gone.set()
        while self._held:
            _, release = self._held.popitem()
            release()
