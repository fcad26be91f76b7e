"""One connection to a twin."""

from types import TracebackType

from bus.memory.kv import MemoryKv
from bus.memory.link import Link
from bus.memory.log import MemoryLog
from bus.memory.queue import MemoryQueue
from bus.memory.rpc import MemoryRpc
from bus.memory.server import MemoryServer
from bus.memory.signals import MemorySignals
from bus.memory.tokens import MemoryTokens
from bus.port import Kv, Log, Queue, Rpc, Signals, Tokens


class MemoryBus:
    """`bus.port.Bus` over a `MemoryServer`; any number may share one. Entering it is optional, leaving it closes."""

    log: Log
    queue: Queue
    rpc: Rpc
    kv: Kv
    tokens: Tokens
    signals: Signals

    def __init__(self, server: MemoryServer, link: Link | None = None) -> None:
        self._server = server
        self._link = link = link or Link()
        self.log = MemoryLog(server, link)
        self.queue = MemoryQueue(server, link)
        self.rpc = MemoryRpc(server, link)
        self.kv = MemoryKv(server, link)
        self.tokens = MemoryTokens(server, link)
        self.signals = MemorySignals(server, link)

    @property
    def connected(self) -> bool:
        """See `bus.port.Bus.connected`."""
        return self._link.up

    @property
    def reconnects(self) -> int:
        """See `bus.port.Bus.reconnects`. A twin's connection that was cut stays so."""
        return self._link.restored

    def now_ms(self) -> int:
        """See `bus.port.Bus.now_ms`."""
        return self._server.now_ms()

    async def closed(self) -> None:
        """See `bus.port.Bus.closed`."""
        await self._link.gone()

    def kill(self) -> None:
        """The process behind this connection is gone: no answer, no progress, no farewell. Idempotent.

        What it held is redelivered after `ack_wait_s`; its subscriptions end; every call on it raises
        `BusDisconnected`.
        """
        self._link.cut()
        self._server.log.stored.ring()

    def lose(self) -> None:
        """The connection is away until `restore`: calls raise `BusDisconnected`; acks and live events are lost."""
        self._link.lose()

    def restore(self) -> None:
        """It is back: views catch up, readers go on where they were, takers take again."""
        self._link.restore()
        self._server.log.stored.ring()

    async def __aenter__(self) -> "MemoryBus":
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.kill()
