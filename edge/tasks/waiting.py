"""Requests that wait for a task's end: one live subscription for all, and a safety net under it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeAlias

from structlog.typing import FilteringBoundLogger

from bus.deadlines import Deadlines
from bus.port import Bus
from schemas.errors import AionError
from schemas.ids import TaskId, TenantId

Key: TypeAlias = tuple[TenantId, TaskId]
TICK_S = 1.0
CHECKS_AT_ONCE = 16
BACKOFF = 2.0


class Waiter:
    """One request's wait. Register it before the append, so that no end can pass unseen, and leave it (`with`)."""

    __slots__ = ("_deadlines", "_leave", "due_s", "future", "key", "recheck_s")

    def __init__(
        self,
        key: Key,
        future: "asyncio.Future[bytes | None]",
        deadlines: "Deadlines[Waiter]",
        leave: "Callable[[Waiter], None]",
        due_s: float,
        recheck_s: float,
    ) -> None:
        self._deadlines = deadlines
        self._leave = leave
        self.key = key
        self.due_s = due_s
        self.recheck_s = recheck_s
        self.future = future

    def __enter__(self) -> "Waiter":
        """Itself, registered already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits here any more."""
        self._leave(self)

    async def wait(self, timeout_s: float) -> bytes | None:
        """The terminal event as the log holds it, None when it did not come in time or the edge drains."""
        self._deadlines.add(self, timeout_s)
        try:
            return await self.future
        finally:
            self._deadlines.drop(self)

    def give(self, data: bytes | None) -> None:
        """Hand over the end; only the first counts."""
        if not self.future.done():
            self.future.set_result(data)


class Waiting:
    """All waiters of one edge by task; they hear in the order they came."""

    def __init__(self, bus: Bus, log: FilteringBoundLogger, clock: Callable[[], float], recheck_s: float) -> None:
        self._bus = bus
        self._log = log
        self._clock = clock
        self._recheck_s = recheck_s
        self._waiters: dict[Key, dict[Waiter, None]] = {}
        self._reconnects = bus.reconnects
        self._loop = asyncio.get_running_loop()
        self._deadlines: Deadlines[Waiter] = Deadlines(lambda waiter: waiter.give(None))
        self.closed = False
        self.heard = 0
        """Ends of tasks, of all edges."""
        self.rescued = 0
        """Ends that the live feed missed and the safety net found."""

    def register(self, tenant_id: TenantId, task_id: TaskId) -> Waiter:
        """A waiter for the task, forgotten on leaving it."""
        key = (tenant_id, task_id)
        future, due_s = self._loop.create_future(), self._clock() + self._recheck_s
        waiter = Waiter(key, future, self._deadlines, self._forget, due_s, self._recheck_s)
        if self.closed:
            waiter.give(None)
        self._waiters.setdefault(key, {})[waiter] = None
        return waiter

    def ended(self, tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        """The live feed's callback."""
        self.heard += 1
        self._give((tenant_id, task_id), data)

    async def watch(self) -> None:
        """The safety net: looks into the log for tasks waited for long, and for all after a reconnect."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.recheck()

    async def recheck(self) -> None:
        """One look at every task that is due, a few at a time."""
        if not self._bus.connected:
            return
        reconnects = self._bus.reconnects
        reconnected, self._reconnects = reconnects != self._reconnects, reconnects
        keys = [key for key, waiters in self._waiters.items() if reconnected or self._due(waiters)]
        for start in range(0, len(keys), CHECKS_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for key in keys[start : start + CHECKS_AT_ONCE]:
                    group.create_task(self._check(key))

    def close(self) -> None:
        """Answer every waiter, now and from now on, with "not yet"."""
        self.closed = True
        for key in list(self._waiters):
            self._give(key, None)

    def _due(self, waiters: Iterable[Waiter]) -> bool:
        now = self._clock()
        due = [waiter for waiter in waiters if waiter.due_s <= now]
        for waiter in due:
            waiter.recheck_s *= BACKOFF
            waiter.due_s = now + waiter.recheck_s
        return bool(due)

    async def _check(self, key: Key) -> None:
        try:
            entry = await self._bus.log.last(*key)
        except AionError as error:
            self._log.warning("edge.recheck_failed", task_id=key[1], code=error.code)
            return
        if entry is not None and entry.subject.split(".")[2] == "ended" and self._waiters.get(key):
            self.rescued += 1
            self._give(key, entry.data)

    def _forget(self, waiter: Waiter) -> None:
        waiters = self._waiters.get(waiter.key, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(waiter.key, None)

    def _give(self, key: Key, data: bytes | None) -> None:
        for waiter in self._waiters.get(key, ()):
            waiter.give(data)
