"""A TCP proxy in front of one server, that can cut, delay, hold and reset what passes."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.kafka_wire import Requests
from harness.lane import MOST_HELD_BYTES, Disturbance, Lane, Weather

HOST = "127.0.0.1"
CONNECT_S = 5.0
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero: closing sends RST and forgets what was not sent (tcp(7))."""


class _Side(asyncio.Protocol):
    """One end of a pair: feeds the lane to the other end."""

    def __init__(self, pair: "Pair", lane: Lane) -> None:
        self._pair = pair
        self._lane = lane
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "pause_reading")
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one without saying so
        self._pair.opened(self)

    def data_received(self, data: bytes) -> None:
        self._lane.feed(data)
        if self._lane.held_bytes > MOST_HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lane.end()
        self._pair.closed(self)


class Pair:
    """A client's connection and ours to the server."""

    def __init__(self, front: "Front") -> None:
        kafka = Requests() if front.kafka else None
        self._front = front
        self.up = Lane(front.weather, "up", kafka)
        self.down = Lane(front.weather, "down", None)
        self.client = _Side(self, self.up)
        self.server = _Side(self, self.down)
        self.client.other, self.server.other = self.server, self.client
        self._open = 0
        self._aborted = False

    def opened(self, side: _Side) -> None:
        """One end is connected: what the other one sends has a place to go."""
        self._open += 1
        lane = self.down if side is self.client else self.up
        assert side.transport is not None
        if self._aborted:
            side.transport.abort()
            return
        lane.write, lane.close = side.transport.write, side.transport.close
        lane.flush()
        if side is self.client:
            self._front.connect(self)

    def closed(self, side: _Side) -> None:
        """One end is gone: nothing can be sent to it."""
        self._open -= 1
        lane = self.down if side is self.client else self.up
        lane.drop()
        lane.write = lambda _: None
        if not self._open:
            self._front.forget(self)

    def abort(self, *, reset: bool) -> None:
        """End both sides now: with RST, or as if the wire were gone and each side had noticed."""
        self._aborted = True
        for side in (self.client, self.server):
            if side.transport is None or side.transport.is_closing():
                continue
            if reset:
                there: socket.socket = side.transport.get_extra_info("socket")
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            side.transport.abort()
        self.up.drop()
        self.down.drop()

    def resume(self) -> None:
        """The weather is better: let go what was held."""
        for side, lane in ((self.client, self.up), (self.server, self.down)):
            lane.flush()
            if side.transport is not None and not side.transport.is_closing():
                side.transport.resume_reading()


class Front:
    """Listens for one kind of client of one server; its weather is what it does to them."""

    def __init__(self, name: str, target_port: int, *, kafka: bool = False) -> None:
        self.name = name
        self.port = 0
        self.kafka = kafka
        self.weather = Weather()
        self.pairs: set[Pair] = set()
        self._target_port = target_port
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._quiet = asyncio.Event()

    async def open(self, port: int = 0) -> None:
        """Listen on `port`, or on a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, HOST, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for pair in tuple(self.pairs):
            pair.abort(reset=False)
        self.forget(None)
        for task in tuple(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        async with asyncio.timeout(CONNECT_S):
            await self._quiet.wait()

    def disturb(self, disturbance: Disturbance) -> None:
        """Do this, beside all that is done already, until `heal` is called with the same."""
        self.weather.active.append(disturbance)
        if disturbance.cut:
            self.weather.counts["cut_connections"] += len(self.pairs)
            for pair in tuple(self.pairs):
                pair.abort(reset=False)

    def heal(self, disturbance: Disturbance) -> None:
        """End one disturbance; what was held goes on when no other holds it."""
        self.weather.active.remove(disturbance)
        for pair in tuple(self.pairs):
            pair.resume()

    def reset(self) -> None:
        """Reset every connection, once; new ones are welcome."""
        self.weather.counts["reset_connections"] += len(self.pairs)
        for pair in tuple(self.pairs):
            pair.abort(reset=True)

    def connect(self, pair: Pair) -> None:
        """A client came: connect it with the server, unless the wire is cut."""
        if self.weather.cut:
            self.weather.counts["refused_connections"] += 1
            pair.abort(reset=False)
            return
        self.weather.counts["connections"] += 1
        task = asyncio.get_running_loop().create_task(self._connect(pair))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def forget(self, pair: Pair | None) -> None:
        """Both ends of `pair` are gone."""
        if pair is not None:
            self.pairs.discard(pair)
        if not self.pairs:
            self._quiet.set()

    def _accept(self) -> asyncio.Protocol:
        pair = Pair(self)
        self.pairs.add(pair)
        self._quiet.clear()
        return pair.client

    async def _connect(self, pair: Pair) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: pair.server, HOST, self._target_port)
        except (OSError, TimeoutError):
            pair.abort(reset=False)


@asynccontextmanager
async def front(name: str, target_port: int, *, kafka: bool = False, port: int = 0) -> AsyncIterator[Front]:
    """A listening front; leaving ends every connection through it."""
    made = Front(name, target_port, kafka=kafka)
    await made.open(port)
    try:
        yield made
    finally:
        await made.close()
