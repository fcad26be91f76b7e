"""What the bus needs of a NATS client: one port, answered by the wire client and by nats-py."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from bus.nats.message import Message

OnMessage = Callable[[Message], None]
"""Called for each message, in order; it may not block."""


@dataclass(eq=False, slots=True)
class Subscription:
    """An interest in a subject; `native` belongs to the client that made it."""

    sid: int
    subject: str
    queue: str
    callback: OnMessage
    native: object = None


class Listener(Protocol):
    """Whom a client tells about its link."""

    def link_lost(self) -> None:
        """The socket is gone; what was asked over it will not be answered."""
        ...

    def link_restored(self) -> None:
        """Connected again, and every subscription stands again."""
        ...

    def link_closed(self) -> None:
        """The client gave up for good."""
        ...


class Client(Protocol):
    """A connection that reconnects by itself. It drops no message and buffers none while it is disconnected."""

    @property
    def connected(self) -> bool:
        """Whether the socket is up now."""
        ...

    @property
    def max_payload(self) -> int:
        """The server's limit over headers and payload, bytes."""
        ...

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's."""
        ...

    @property
    def congested(self) -> bool:
        """Whether more is written than the socket takes; who can wait awaits `writable` then."""
        ...

    async def writable(self, timeout_s: float) -> None:
        """Returns when the socket takes more; raises `BusDisconnected` when it does not in time."""
        ...

    def publish(self, subject: str, payload: bytes, reply: str, head: bytes) -> None:
        """Send with everything else of this turn of the loop, below the header block `head` unless that is empty.

        Raises `BusDisconnected`.
        """
        ...

    def publish_lazily(self, subject: str, payload: bytes) -> None:
        """As `publish`, and may wait 20 ms for company: a write alone wakes the server for little."""
        ...

    async def subscribe(self, subject: str, callback: OnMessage, queue: str) -> Subscription:
        """An interest that survives reconnects. Raises `BusDisconnected` where the client must be connected for it."""
        ...

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End it now; fine on a dead connection."""
        ...

    async def drain(self, subscription: Subscription, timeout_s: float) -> None:
        """End it once all that the server had sent was delivered; fine on a dead connection."""
        ...

    async def flush(self, timeout_s: float) -> None:
        """Returns when the server has seen all that was published. Raises `Unavailable`."""
        ...

    async def close(self) -> None:
        """Flush as far as two seconds allow, and end."""
        ...


def loop_ended(listener: Listener, loop: "asyncio.Task[None]") -> None:
    """Done-callback of a client's own loop: one that broke leaves a connection that nobody keeps, so it is closed."""
    if not loop.cancelled():
        structlog.get_logger("bus").error("bus_loop_broke", loop=loop.get_name(), error=repr(loop.exception()))
        listener.link_closed()
