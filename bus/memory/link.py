"""What holds a twin together: the life of one connection, and waking those who wait."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Held:
    """What the server keeps for a connection: how to let go of it, and what to do once the link is back."""

    release: Callable[[], None]
    resume: Callable[[], None] | None = None


class Link:
    """One connection: up or away until `cut`, after which everything that goes over it raises `BusDisconnected`.

    While it is away calls raise `BusDisconnected` and what is under way is lost; subscriptions, readers and takers
    stay and go on by themselves when it is back.
    """

    def __init__(self) -> None:
        self._held: dict[object, Held] = {}
        self._gone = asyncio.Event()
        self._away = False
        self.restored = 0

    @property
    def alive(self) -> bool:
        """Whether it was not cut."""
        return not self._gone.is_set()

    @property
    def up(self) -> bool:
        """Whether something can be sent and heard over it now."""
        return not self._away and not self._gone.is_set()

    def check_alive(self) -> None:
        """Raise `BusDisconnected` once the connection is cut."""
        if self._gone.is_set():
            raise BusDisconnected("the connection to the bus is closed: open a new one")

    def check(self) -> None:
        """Raise `BusDisconnected` while the connection is away and once it is cut."""
        self.check_alive()
        if self._away:
            raise BusDisconnected("the bus is away: the connection is being restored", retry_after_s=1.0)

    async def cross(self) -> None:
        """The way to the server or back: others run meanwhile, and the connection may be lost."""
        self.check()
        await asyncio.sleep(0)
        self.check()

    async def gone(self) -> None:
        """Returns once the connection is cut."""
        await self._gone.wait()

    @contextmanager
    def holding(self, release: Callable[[], None], resume: Callable[[], None] | None = None) -> Iterator[None]:
        """Call `release` once: when the block is left, or earlier when the connection is cut.

        `resume` is called each time the connection is back after it was away.
        """
        self.check()
        key = object()
        self._held[key] = Held(release, resume)
        try:
            yield
        finally:
            if self._held.pop(key, None) is not None:
                release()

    def cut(self) -> None:
        """End the connection: the server forgets its subscriptions; idempotent."""
        self._gone.set()
        while self._held:
            _, held = self._held.popitem()
            held.release()

    def lose(self) -> None:
        """The connection is away until `restore`."""
        self._away = True

    def restore(self) -> None:
        """The connection is back; nothing brings back one that was cut."""
        self._away = False
        self.restored += 1
        for held in list(self._held.values()):
            if held.resume is not None:
                held.resume()
