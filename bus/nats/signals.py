"""Control messages and token deltas: core NATS, no acknowledgement."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.nats.reader import EntryReader, Start, open_reader
from bus.port import DEFAULT_TIMEOUT_S, Reader
from bus.subjects import TOKENS_STREAM, tokens_of_task
from schemas.ids import TaskId, TenantId


class NatsSignals:
    """`bus.port.Signals` on the real server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, subject: str) -> None:
        """See `bus.port.Signals.send`."""
        await self._connection.publish(subject, b"")

    def listen(self, pattern: str, callback: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """See `bus.port.Signals.listen`."""
        return self._listen(pattern, callback)

    @asynccontextmanager
    async def _listen(self, pattern: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        def deliver(message: Message) -> None:
            callback(message.subject)

        subscription = await self._connection.subscribe(pattern, deliver)
        await self._connection.flush(DEFAULT_TIMEOUT_S)
        try:
            yield
        finally:
            await self._connection.unsubscribe(subscription)


class NatsTokens:
    """`bus.port.Tokens` over the memory stream `TOKENS`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def publish(self, tenant_id: TenantId, task_id: TaskId, data: bytes) -> None:
        """See `bus.port.Tokens.publish`."""
        await self._connection.publish(tokens_of_task(tenant_id, task_id), data)

    def follow(self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0) -> AbstractAsyncContextManager[Reader]:
        """See `bus.port.Tokens.follow`."""
        return self._follow(tokens_of_task(tenant_id, task_id), after)

    @asynccontextmanager
    async def _follow(self, subject: str, after: int) -> AsyncIterator[Reader]:
        start = Start(after=after, filter=subject)
        async with open_reader(self._connection, TOKENS_STREAM, start, batch=256) as reader:
            yield EntryReader(reader)
