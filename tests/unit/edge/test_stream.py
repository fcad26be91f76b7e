"""A stream never buffers without bound and never skips."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web

from bus.port import Entry
from edge.http.sse import SlowReader, Writer
from edge.rest.stream import pump


class Socket:
    """Takes writes until it is told to block."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.blocked = False
        self.wrote = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.written.append(data)
        self.wrote.set()


def writer(socket: Socket, timeout_s: float = 1.0) -> Writer:
    return Writer(cast(web.StreamResponse, socket), timeout_s)


def entry(sequence: int) -> Entry:
    data = json.dumps({"event": "accepted", "params": {"secret": 1}}).encode()
    return Entry(sequence, 0, "aion.task.accepted.normal.acme.t", data)


class Source:
    """Entries, and how far they were asked for."""

    def __init__(self, count: int, *, forever: bool = False) -> None:
        self.count, self.forever = count, forever
        self.given = 0
        self.closed = False

    async def follow(self) -> AsyncIterator[Entry]:
        try:
            for number in range(1, self.count + 1):
                self.given = number
                yield entry(number)
            if self.forever:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_every_entry_is_written_in_order_without_params() -> None:
    socket, source = Socket(), Source(3)
    await pump(source.follow(), writer(socket), asyncio.Event(), heartbeat_s=5)
    assert [frame.split(b"\n")[0] for frame in socket.written] == [b"id: 1", b"id: 2", b"id: 3"]
    assert b"secret" not in b"".join(socket.written)


async def test_a_slow_reader_is_dropped_after_one_entry_not_buffered() -> None:
    socket, source = Socket(), Source(1000)
    socket.blocked = True
    with pytest.raises(SlowReader):
        await pump(source.follow(), writer(socket, 0.001), asyncio.Event(), heartbeat_s=5)
    assert (source.given, source.closed) == (1, True)


async def test_a_quiet_stream_beats_and_a_drain_ends_it_with_a_comment() -> None:
    socket, source, draining = Socket(), Source(0, forever=True), asyncio.Event()
    task = asyncio.create_task(pump(source.follow(), writer(socket), draining, heartbeat_s=0.001))
    await socket.wrote.wait()
    assert socket.written[0] == b": alive\n\n"
    draining.set()
    await task
    assert socket.written[-1].startswith(b": draining")
    assert source.closed
