"""The token port of one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context

from bus.memory.link import Link
from bus.memory.server import MemoryServer
from bus.port import DEFAULT_TIMEOUT_S, Entry
from bus.subjects import tokens_of_task
from schemas.ids import TaskId, TenantId

_PAGE = 64
_PAGE_BYTES = 128 << 10


class MemoryTokens:
    """`bus.port.Tokens` over the server's token stream."""

    def __init__(self, server: MemoryServer, link: Link) -> None:
        self._store = server.tokens
        self._link = link

    async def publish(self, tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        """See `bus.port.Tokens.publish`."""
        subject = tokens_of_task(tenant_id, task_id)
        self._link.check()
        self._store.append(subject, data)
        await asyncio.sleep(0)

    async def kept(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """See `bus.port.Tokens.kept`."""
        await self._link.cross()
        return tuple(_page(self._store.after(tokens_of_task(tenant_id, task_id), after)))

    @asynccontextmanager
    async def live(
        self, tenant_id: TenantId, task_id: TaskId, callback: Callable[[bytes], None]
    ) -> AsyncIterator[None]:
        """See `bus.port.Tokens.live`."""
        wanted, key, context = tokens_of_task(tenant_id, task_id), object(), copy_context()

        def pass_on(subject: str, data: bytes) -> None:
            if self._link.up and subject == wanted:
                asyncio.get_running_loop().call_soon(deliver, data, context=context)

        def deliver(data: bytes) -> None:
            if key in self._store.listeners:
                callback(data)

        def forget() -> None:
            self._store.listeners.pop(key, None)

        with self._link.holding(forget):
            self._store.listeners[key] = pass_on
            yield


def _page(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The first of them, at most so many and so long, and always one."""
    size_bytes = 0
    for entry in entries[:_PAGE]:
        yield entry
        size_bytes += len(entry.data)
        if size_bytes >= _PAGE_BYTES:
            return
