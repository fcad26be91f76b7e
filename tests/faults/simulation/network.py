"""Byte streams between processes of one loop: what TCP promises, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.loop import VirtualLoop

LATENCY_S = 50e-6


class Server:
    """A port that somebody listens on; what `loop.create_server` gives."""

    def __init__(self, network: Network, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> None:
        self._network = network
        self._host = host
        self.port = port
        self.factory = factory
        self.context = copy_context()
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        """As a bound socket would say."""
        return (self._host, self.port)

    def close(self) -> None:
        """Refuse who comes from now on."""
        self._network.forget(self)

    async def wait_closed(self) -> None:
        """Connections live on without it."""


class End(asyncio.Transport):
    """One end of a connection. What is written arrives whole, in order, a little later, or never."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol, context: Context) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._closed = False
        self._lost = False
        self.context = context
        self.peer: End | None = None

    def open(self) -> None:
        """Tell the protocol."""
        self._protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closed and self.peer is not None:
            peer = self.peer
            self._loop.call_later(LATENCY_S, peer.receive, bytes(data), context=peer.context)

    def receive(self, data: bytes) -> None:
        """Something arrived."""
        if not self._closed:
            self._protocol.data_received(data)

    def lose(self, error: Exception | None) -> None:
        """The other side is gone."""
        self._closed = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(ConnectionResetError("aborted"))

    def vanish(self) -> None:
        """The process behind this end is dead: the other side is told, this one learns nothing."""
        self._closed = True
        self._tell(ConnectionResetError("the process behind the connection is gone"))

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("client", 1) if name == "peername" else default

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever held back."""

    def pause_reading(self) -> None:
        """Requests are small: what arrives is read."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def _end(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._tell(error)
            self._loop.call_soon(self.lose, None, context=self.context)

    def _tell(self, error: Exception | None) -> None:
        if self.peer is not None:
            self._loop.call_later(LATENCY_S, self.peer.lose, error, context=self.peer.context)


class Network:
    """Who listens, and every open connection by the server's port."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._servers: dict[int, Server] = {}
        self._ends: dict[int, list[End]] = {}

    def listen(self, factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Server:
        """Take the port, in the context of the caller. `OSError` when it is taken."""
        if port in self._servers:
            raise OSError(98, "Address already in use")
        server = self._servers[port] = Server(self, factory, host, port)
        return server

    def forget(self, server: Server) -> None:
        """Nobody listens there any more; idempotent."""
        if self._servers.get(server.port) is server:
            del self._servers[server.port]

    def listens(self, port: int) -> bool:
        """Whether somebody does there."""
        return port in self._servers

    def connect(self, port: int, protocol: asyncio.Protocol) -> End:
        """A connection to `port`; a stopped process takes it too, as kernels do. Raises `ConnectionRefusedError`."""
        server = self._servers.get(port)
        if server is None:
            raise ConnectionRefusedError(111, "Connection refused")
        context = server.context.copy()
        here = End(self._loop, protocol, copy_context())
        there = End(self._loop, context.run(server.factory), context)
        here.peer, there.peer = there, here
        self._ends.setdefault(port, []).append(there)
        self._loop.call_soon(there.open, context=there.context)
        here.open()
        return here

    def drop(self, port: int) -> None:
        """The process that listened there is dead: its port is free, its connections are reset."""
        server = self._servers.get(port)
        if server is not None:
            self.forget(server)
        for end in self._ends.pop(port, []):
            end.vanish()
