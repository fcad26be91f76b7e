"""The log port of one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import copy_context

from bus.matching import matches
from bus.memory.link import Link
from bus.memory.reader import MemoryReader
from bus.memory.server import MemoryServer
from bus.port import DEFAULT_TIMEOUT_S, Entry, Heard, LogInfo, Reader
from bus.subjects import live_of_event, live_of_task, task_of
from schemas.errors import Unavailable
from schemas.events import AuditEvent, TaskEvent
from schemas.ids import TaskId, TenantId, subject_token


class MemoryLog:
    """`bus.port.Log` over a shared `LogStore`."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._server = server
        self._store = server.log
        self._link = link

    async def append(self, event: TaskEvent, *, after: int, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Log.append`."""
        await self._link.cross()
        sequence = self._store.append(event, after)
        await self._acknowledged(timeout_s)
        return sequence

    async def audit(self, event: AuditEvent, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """See `bus.port.Log.audit`."""
        await self._link.cross()
        sequence = self._store.audit(event)
        await self._acknowledged(timeout_s)
        return sequence

    async def last(self, tenant_id: TenantId, task_id: TaskId, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Entry | None:
        """See `bus.port.Log.last`."""
        found = await self.events(tenant_id, task_id, timeout_s=timeout_s)
        return found[-1] if found else None

    async def events(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """See `bus.port.Log.events`."""
        await self._link.cross()
        subject_token(tenant_id), subject_token(task_id)
        return tuple(entry for entry in self._store.of_task(tenant_id, task_id) if entry.sequence > after)

    @asynccontextmanager
    async def read(self, after: int, *, batch: int = 1000, linger_s: float = 0.0) -> AsyncIterator[Reader]:
        """See `bus.port.Log.read`."""
        self._link.check()
        store = self._store
        yield MemoryReader(self._link, store.stored, lambda at: store.after(at, batch), after, batch, linger_s)

    async def follow(self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0) -> AsyncIterator[Entry]:
        """See `bus.port.Log.follow`; a task that ended at or before `after` yields nothing and ends."""
        subject_token(tenant_id), subject_token(task_id)
        await self._link.cross()
        position = after
        while True:
            self._link.check_alive()
            found = self._store.of_task(tenant_id, task_id) if self._link.up else ()
            for entry in found:
                if entry.sequence > position:
                    position = entry.sequence
                    yield entry
            if found and _is_end(found[-1]):
                return
            if not self._link.up or self._store.of_task(tenant_id, task_id) == found:
                await self._store.stored.wait()

    def watch(
        self, tenant_id: TenantId, task_id: TaskId, stirred: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """See `bus.port.Log.watch`."""
        return self._listen(live_of_task(tenant_id, task_id), lambda _: stirred())

    def live(self, event: str, callback: Heard) -> AbstractAsyncContextManager[None]:
        """See `bus.port.Log.live`."""
        return self._listen(live_of_event(event), lambda entry: callback(*task_of(entry.subject), entry.data))

    @asynccontextmanager
    async def _listen(self, pattern: str, callback: Callable[[Entry], None]) -> AsyncIterator[None]:
        key, context = object(), copy_context()

        def pass_on(entry: Entry) -> None:
            if self._link.up and matches(pattern, entry.subject.replace("aion.task.", "aion.live.", 1)):
                asyncio.get_running_loop().call_soon(deliver, entry, context=context)

        def deliver(entry: Entry) -> None:
            if key in self._store.listeners:
                callback(entry)

        def forget() -> None:
            self._store.listeners.pop(key, None)

        with self._link.holding(forget):
            self._store.listeners[key] = pass_on
            yield

    async def info(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> LogInfo:
        """See `bus.port.Log.info`."""
        await self._link.cross()
        return self._store.info()

    async def set_window(self, max_age_s: float | None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """See `bus.port.Log.set_window`."""
        await self._link.cross()
        self._store.max_age_s = max_age_s

    async def _acknowledged(self, timeout_s: float) -> None:
        if self._server.ack_is_lost():
            await asyncio.sleep(timeout_s)
            raise Unavailable(f"no acknowledgement within {timeout_s} s: append the same event_id again to learn more")
        await self._link.cross()


def _is_end(entry: Entry) -> bool:
    return entry.subject.startswith("aion.task.ended.")
