"""A stream never buffers without bound and never skips."""

import asyncio
from typing import cast

import pytest
from aiohttp import web

from bus.waiting import wait_at_most
from edge.http.sse import HELD_BYTES, SlowReader, Writer
from edge.rest.stream import frame, pump
from edge.tasks.bookmark import Bookmark
from edge.tasks.following import Following
from edge.tasks.items import Finished, Happened, Item, Missed, Said


class Socket:
    """Takes writes until it is told to block."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.blocked = False
        self.ended = False
        self.wrote = asyncio.Event()

    async def write(self, data: bytes) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.written.append(data)
        self.wrote.set()

    async def write_eof(self, data: bytes) -> None:
        self.ended = True
        await self.write(data)


def writer(socket: Socket, timeout_s: float = 1.0) -> Writer:
    return Writer(cast(web.StreamResponse, socket), timeout_s)


class Source:
    """A stream of `count` items, and how many were asked for."""

    def __init__(self, count: int, *, forever: bool = False) -> None:
        self.count, self.forever = count, forever
        self.given = 0
        self.left = asyncio.Event()

    @property
    def ended(self) -> bool:
        return not self.forever and self.given >= self.count

    @property
    def mark(self) -> Bookmark:
        return Bookmark(self.given)

    def leave(self) -> None:
        self.left.set()

    async def next(self, timeout_s: float) -> Item | None:
        if self.given < self.count:
            self.given += 1
            return Happened(self.mark, "accepted", b"{}")
        await wait_at_most(self.left, timeout_s)
        return None


def following(source: Source) -> Following:
    return cast(Following, source)


async def test_every_item_is_written_in_order_with_its_resume_id() -> None:
    socket = Socket()
    await pump(following(Source(3)), writer(socket), asyncio.Event(), heartbeat_s=5)
    frames = b"".join(socket.written).split(b"\n\n")
    assert [frame.split(b"\n")[0] for frame in frames] == [b"id: 1", b"id: 2", b"id: 3", b""]


async def test_items_that_are_there_together_go_in_one_send_with_the_end() -> None:
    socket = Socket()
    await pump(following(Source(3)), writer(socket), asyncio.Event(), heartbeat_s=5)
    assert (len(socket.written), socket.ended) == (1, True)


async def test_what_is_there_is_sent_before_anything_is_waited_for() -> None:
    socket, source, draining = Socket(), Source(2, forever=True), asyncio.Event()
    task = asyncio.create_task(pump(following(source), writer(socket), draining, heartbeat_s=60))
    assert await wait_at_most(socket.wrote, 5)
    assert (len(socket.written), socket.written[0].count(b"id: ")) == (1, 2)
    draining.set()
    await task


async def test_a_slow_reader_is_dropped_when_a_send_is_full_and_no_more_is_read() -> None:
    socket, source = Socket(), Source(10_000)
    socket.blocked = True
    with pytest.raises(SlowReader):
        await pump(following(source), writer(socket, 0.001), asyncio.Event(), heartbeat_s=5)
    taken = b"".join(frame(Happened(Bookmark(number), "accepted", b"{}")) for number in range(1, source.given + 1))
    assert HELD_BYTES < len(taken) < HELD_BYTES + 50


async def test_a_quiet_stream_beats_and_a_drain_ends_it_with_its_resume_id() -> None:
    socket, source, draining = Socket(), Source(1, forever=True), asyncio.Event()
    task = asyncio.create_task(pump(following(source), writer(socket), draining, heartbeat_s=0.001))
    for _ in range(500):
        await asyncio.sleep(0.001)
        if b": alive\n\n" in socket.written:
            break
    draining.set()
    await task
    assert socket.written[-1] == b": draining: reconnect with Last-Event-ID 1\n\n"


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Said(Bookmark(2, 3), "grüß\n\u2028", False), 'id: 2.3\nevent: token\ndata: {"attempt":2,"run":1,'),
        (Missed(Bookmark(2, 3), 1), 'id: 2.3\nevent: gap\ndata: {"attempt":2,"run":1,"missing":1}\n\n'),
        (Finished(Bookmark(), b"{}"), "event: done\ndata: {}\n\n"),
    ],
)
def test_a_frame_is_lines_and_text_never_breaks_one(item: Item, shown: str) -> None:
    text = frame(item).decode()
    assert text.startswith(shown)
    assert text.index("\n\n") == len(text) - 2
