"""Control messages and token deltas: core NATS, no acknowledgement."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bus.nats.connection import Connection
from bus.nats.direct import read_batch
from bus.nats.message import Message
from bus.port import DEFAULT_TIMEOUT_S, Entry
from bus.subjects import TOKENS_STREAM, tokens_of_task
from schemas.ids import TaskId, TenantId

_PAGE = {"batch": 64, "max_bytes": 128 << 10}


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

    async def kept(
        self, tenant_id: TenantId, task_id: TaskId, *, after: int = 0, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> tuple[Entry, ...]:
        """See `bus.port.Tokens.kept`."""
        wanted = {"seq": after + 1, "next_by_subj": tokens_of_task(tenant_id, task_id)}
        return await read_batch(self._connection, TOKENS_STREAM, wanted | _PAGE, timeout_s)

    @asynccontextmanager
    async def live(
        self, tenant_id: TenantId, task_id: TaskId, callback: Callable[[bytes], None]
    ) -> AsyncIterator[None]:
        """See `bus.port.Tokens.live`."""
        subject = tokens_of_task(tenant_id, task_id)
        subscription = await self._connection.subscribe(subject, lambda message: callback(message.data))
        try:
            yield
        finally:
            await self._connection.unsubscribe(subscription)
