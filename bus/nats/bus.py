"""The bus over one NATS connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bus.nats.appender import Appender
from bus.nats.clock import keep_time, read_time
from bus.nats.connection import Connection, connect
from bus.nats.kv import NatsKv
from bus.nats.layout import ensure, keep_tokens
from bus.nats.log import NatsLog
from bus.nats.queue import NatsQueue
from bus.nats.rpc import NatsRpc
from bus.nats.signals import NatsSignals, NatsTokens
from bus.port import Kv, Log, Queue, Rpc, Signals, Tokens
from bus.settings import BusSettings


class NatsBus:
    """`bus.port.Bus` on the real server."""

    def __init__(self, connection: Connection, appender: Appender) -> None:
        self._connection = connection
        self.log: Log = NatsLog(connection, appender)
        self.queue: Queue = NatsQueue(connection)
        self.rpc: Rpc = NatsRpc(connection)
        self.kv: Kv = NatsKv(connection)
        self.tokens: Tokens = NatsTokens(connection)
        self.signals: Signals = NatsSignals(connection)

    @property
    def connected(self) -> bool:
        """See `bus.port.Bus.connected`."""
        return self._connection.connected

    @property
    def reconnects(self) -> int:
        """See `bus.port.Bus.reconnects`."""
        return self._connection.reconnects

    def now_ms(self) -> int:
        """See `bus.port.Bus.now_ms`."""
        return self._connection.clock.now_ms()

    async def closed(self) -> None:
        """See `bus.port.Bus.closed`."""
        await self._connection.closed()


@asynccontextmanager
async def open_bus(settings: BusSettings) -> AsyncIterator[NatsBus]:
    """Connect, check the server, make sure of streams and buckets; leaving finishes appends and closes.

    Raises `BusDisconnected` when no server answers, `ServerIncompatible` when it is too old or ignored a setting.
    """
    async with connect(settings) as connection:
        await ensure(connection, settings)
        await read_time(connection)
        appender = Appender(connection, settings)
        keepers = (
            asyncio.create_task(keep_tokens(connection, settings), name="bus.keep_tokens"),
            asyncio.create_task(keep_time(connection), name="bus.keep_time"),
        )
        try:
            yield NatsBus(connection, appender)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await appender.close()
