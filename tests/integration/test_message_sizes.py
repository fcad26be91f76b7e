"""Messages around the server's limit: refused here or delivered there, and the connection is the same afterwards."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from natsd import Natsd
from story import Story

from bus import BusSettings, open_bus
from bus.nats.connection import Connection, connect
from bus.nats.message import Message, encode_headers
from schemas.errors import PayloadTooLarge
from schemas.events import Accepted
from schemas.message import encode

LIMIT = 1 << 20
HEADERS = {"Aion-Long": "h" * 3000, "Aion-Short": "1"}
ClientName = Literal["wire", "nats-py"]


@pytest.fixture
def url(nats_binary: str, tmp_path: Path) -> Iterator[str]:
    server = Natsd(nats_binary, tmp_path).start()
    yield server.url
    server.kill()


def largest(connection: Connection, head: bytes) -> int:
    """The largest payload that is not refused."""
    low, high = 0, 2 * LIMIT
    while low < high:
        middle = (low + high + 1) // 2
        try:
            connection.check("sizes", bytes(middle), head)
        except PayloadTooLarge:
            high = middle - 1
        else:
            low = middle
    return low


@pytest.mark.parametrize("head", [b"", encode_headers(HEADERS)], ids=["bare", "headers"])
@pytest.mark.parametrize("client", ["wire", "nats-py"])
async def test_around_the_limit_a_message_is_refused_or_delivered_over_one_connection(
    url: str, client: ClientName, head: bytes
) -> None:
    arrived: asyncio.Queue[int] = asyncio.Queue()
    again: list[str] = []

    def note(message: Message) -> None:
        arrived.put_nowait(len(message.data))

    async with connect(BusSettings(url=url, client=client)) as connection:
        connection.on_reconnect(lambda: again.append("reconnected"))
        await connection.subscribe("sizes", note)
        edge, above = largest(connection, head), len(head)
        assert LIMIT * 0.8 < edge + above < LIMIT
        refused = []
        below = LIMIT - above
        for size in (edge - 1, edge, edge + 1, below - 1, below, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT):
            try:
                await connection.publish("sizes", bytes(size), head=head)
            except PayloadTooLarge:
                refused.append(size)
        await connection.publish("sizes", b"last")
        async with asyncio.timeout(10):
            sizes = [await arrived.get() for _ in range(3)]
        assert sizes == [edge - 1, edge, len(b"last")]
        assert len(refused) == 7
        assert connection.connected
    assert again == []


def accepted(story: Story, number: int, size: int) -> Accepted:
    return story.accepted(f"t{number}", text="x" * size)


async def append_all(bus: Any, events: list[Accepted]) -> list[Any]:
    return await asyncio.gather(*(bus.log.append(event, after=0) for event in events), return_exceptions=True)


@pytest.mark.parametrize("client", ["wire", "nats-py"])
async def test_what_fits_alone_but_not_in_a_batch_fails_no_other_of_the_batch(url: str, client: ClientName) -> None:
    story = Story()
    async with open_bus(BusSettings(url=url, client=client, max_bytes=1 << 28)) as bus:
        around = int(LIMIT * 0.9) - len(encode(accepted(story, 0, 0)))
        for number, size in enumerate(range(around - 600, around, 50)):
            first = number * 100
            large = accepted(story, first, size)
            results = await append_all(bus, [*(accepted(story, first + n, 10) for n in range(1, 40)), large])
            assert [result for result in results[:-1] if not isinstance(result, int)] == []
            assert isinstance(results[-1], int | PayloadTooLarge)
    assert isinstance(results[-1], PayloadTooLarge), "no size was over the bound: the test showed nothing"


@pytest.mark.parametrize("client", ["wire", "nats-py"])
async def test_many_large_appends_at_once_do_not_cost_the_connection(url: str, client: ClientName) -> None:
    story = Story()
    async with open_bus(BusSettings(url=url, client=client, max_bytes=1 << 28)) as bus:
        results = await append_all(bus, [accepted(story, number, 300_000) for number in range(300)])
        assert [result for result in results if not isinstance(result, int)] == []
        assert bus.connected
