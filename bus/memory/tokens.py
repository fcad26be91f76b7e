"""The token port of one connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bus.memory.link import Link
from bus.memory.reader import MemoryReader
from bus.memory.server import MemoryServer
from bus.port import Reader
from bus.subjects import tokens_of_task
from schemas.ids import TaskId, TenantId


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

    @asynccontextmanager
    async def follow(self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0) -> AsyncIterator[Reader]:
        """See `bus.port.Tokens.follow`."""
        subject = tokens_of_task(tenant_id, task_id)
        self._link.check()
        yield MemoryReader(self._link, self._store.stored, lambda position: self._store.after(subject, position), after)
