"""A TCP relay in front of a server: its two directions can be held, its answers thrown away, its connections cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK = 65_536


class Relay:
    """What is held stays in the sockets and arrives later, in order."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._relays: set[asyncio.Task[None]] = set()
        self.from_client = asyncio.Event()
        self.from_client.set()
        self.from_server = asyncio.Event()
        self.from_server.set()
        self.muted = False
        """While it is set, what the server says is thrown away."""
        self.connections = 0
        """How many were taken."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The address that clients use."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        try:
            yield f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        finally:
            self.from_client.set()
            self.from_server.set()
            self.cut()
            async with asyncio.timeout(5):
                await asyncio.gather(*self._relays)

    def cut(self) -> None:
        """Reset what is connected, refuse what comes: as when the process behind it was killed."""
        if self._server is not None:
            self._server.close()
        self.reset()

    def reset(self) -> None:
        """Reset what is connected; who connects again is let in."""
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
        await asyncio.gather(self._ask(reader, away_writer), self._answer(away_reader, writer))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for data in _chunks(reader, writer):
            await self.from_client.wait()
            writer.write(data)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for data in _chunks(reader, writer):
            await self.from_server.wait()
            if not self.muted:
                writer.write(data)


async def _chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncIterator[bytes]:
    """What is read, each once `writer` took what was written before; ends `writer` as well."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            yield data
            await writer.drain()
    writer.transport.abort()
