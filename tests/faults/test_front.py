"""The fault proxy does to a connection what it says, and counts it."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from harness.front import Front, front
from harness.kafka_wire import END_TXN, Requests
from harness.lane import Disturbance

CUT, HELD_UP, HELD_DOWN = Disturbance(cut=True), Disturbance(held="up"), Disturbance(held="down")


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends back what it gets; and all that it got."""
    got: list[bytes] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                got.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


@asynccontextmanager
async def through(*, kafka: bool = False) -> AsyncIterator[tuple[Front, list[bytes]]]:
    async with echo() as (port, got), front("echo", port, kafka=kafka) as made:
        yield made, got


@asynccontextmanager
async def connected(made: Front) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def said(reader: asyncio.StreamReader, size: int, within_s: float = 2.0) -> bytes:
    async with asyncio.timeout(within_s):
        return await reader.readexactly(size)


async def until(holds: Callable[[], bool]) -> bool:
    for _ in range(200):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False


async def answered(made: Front, data: bytes) -> bytes:
    async with connected(made) as (reader, writer):
        writer.write(data)
        return await said(reader, len(data))


async def test_bytes_pass_in_order_and_large_ones_whole() -> None:
    large = bytes(range(256)) * 40_000
    async with through() as (made, _):
        assert await answered(made, large) == large


async def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed() -> None:
    async with through() as (made, _), connected(made) as (reader, writer):
        writer.write(b"one")
        assert await said(reader, 3) == b"one"
        made.disturb(CUT)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        async with connected(made) as (again, _):
            with suppress(ConnectionError):
                assert await again.read() == b""
        assert made.weather.counts["cut_connections"] == made.weather.counts["refused_connections"] == 1
        made.heal(CUT)
        assert await answered(made, b"two") == b"two"


async def test_a_reset_is_one_and_new_connections_are_welcome() -> None:
    async with through() as (made, _), connected(made) as (reader, writer):
        writer.write(b"one")
        await said(reader, 3)
        made.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        assert made.weather.counts["reset_connections"] == 1
        assert await answered(made, b"two") == b"two"


async def test_a_delay_is_there_both_ways() -> None:
    async with through() as (made, _), connected(made) as (reader, writer):
        made.disturb(Disturbance(delay_s=0.1))
        began = time.monotonic()
        writer.write(b"slow")
        assert await said(reader, 4) == b"slow"
        assert time.monotonic() - began > 0.19
        assert made.weather.counts["delayed_bytes"] == 8


async def test_a_held_direction_lets_nothing_through_and_everything_once_it_is_healed() -> None:
    async with through() as (made, got), connected(made) as (reader, writer):
        made.disturb(HELD_DOWN)
        writer.write(b"asked")
        with pytest.raises(TimeoutError):
            await said(reader, 5, within_s=0.1)
        assert got == [b"asked"]
        assert made.weather.counts["held_down_bytes"] == 5
        made.heal(HELD_DOWN)
        assert await said(reader, 5) == b"asked"


async def test_what_was_held_arrives_although_its_sender_is_gone() -> None:
    async with through() as (made, got):
        async with connected(made) as (_, writer):
            made.disturb(HELD_UP)
            writer.write(b"late")
        await asyncio.sleep(0.05)
        assert got == []
        made.heal(HELD_UP)
        assert await until(lambda: got == [b"late"])


async def test_what_two_faults_hold_waits_for_the_second_to_be_healed() -> None:
    async with through() as (made, got), connected(made) as (_, writer):
        made.disturb(HELD_UP)
        made.disturb(HELD_UP)
        writer.write(b"late")
        made.heal(HELD_UP)
        await asyncio.sleep(0.05)
        assert got == []
        made.heal(HELD_UP)
        assert await until(lambda: got == [b"late"])


async def test_only_end_txn_waits_and_what_follows_it_stays_behind_it() -> None:
    produce, end = request(0, b"p" * 50), request(END_TXN, b"e" * 20)
    async with through(kafka=True) as (made, got), connected(made) as (_, writer):
        made.disturb(Disturbance(end_txn_delay_s=0.2))
        writer.write(produce + end[:7])
        await asyncio.sleep(0.05)
        assert b"".join(got) == produce
        writer.write(end[7:] + produce)
        await asyncio.sleep(0.05)
        assert b"".join(got) == produce
        assert await until(lambda: b"".join(got) == produce + end + produce)
        assert made.weather.counts["end_txn_delayed"] == 1


def request(api_key: int, body: bytes) -> bytes:
    head = struct.pack(">hhi", api_key, 0, 1)
    return struct.pack(">i", len(head) + len(body)) + head + body


@pytest.mark.parametrize("size", [1, 3, 6, 7, 1000])
def test_requests_are_found_however_their_bytes_arrive(size: int) -> None:
    stream = request(3, b"") + request(END_TXN, b"x" * 30) + request(0, b"y" * 9)
    requests = Requests()
    pieces = [piece for at in range(0, len(stream), size) for piece in requests.cut(stream[at : at + size])]
    assert b"".join(data for data, _ in pieces) == stream
    assert [key for _, key in pieces if key is not None] == [3, END_TXN, 0]
