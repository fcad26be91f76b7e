"""How it is said: the log, the queue, questions, buckets, tokens and signals, over NATS or in memory."""

from contextlib import AbstractAsyncContextManager

from bus.port import Bus
from bus.settings import BusSettings

__all__ = ["Bus", "BusSettings", "open_bus"]


def open_bus(settings: BusSettings) -> AbstractAsyncContextManager[Bus]:
    """A connection to the real bus; leaving it flushes and closes. The client library is imported here, not before."""
    from bus.nats import open_bus as open_nats

    return open_nats(settings)
