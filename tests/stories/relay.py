"""A TCP relay in front of a server, whose two directions can be held, each on its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 65_536


class Relay:
    """What is held stays in the sockets and arrives later, in order; nothing is dropped but by `reset`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._relays: set[asyncio.Task[None]] = set()
        self.from_client = asyncio.Event()
        self.from_client.set()
        self.from_server = asyncio.Event()
        self.from_server.set()
        self.connections = 0
        """How many were taken."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The address that clients use."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        try:
            yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self.from_client.set()
            self.from_server.set()
            self.reset()
            async with asyncio.timeout(5):
                await asyncio.gather(*self._relays)

    def reset(self) -> None:
        """End what is connected."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        self.connections += 1
        try:
            away_reader, away_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, away_writer]
        up, down = _pump(reader, away_writer, self.from_client), _pump(away_reader, writer, self.from_server)
        await asyncio.gather(up, down)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_pass: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            await may_pass.wait()
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
