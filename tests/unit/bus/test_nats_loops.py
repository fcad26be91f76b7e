"""What the bus does when one of its own loops breaks."""

import asyncio
from functools import partial
from typing import Any

import pytest

from bus.nats.client import loop_ended
from bus.nats.connection import Connection
from bus.nats.message import Message
from bus.nats.queue import NatsQueue, NatsTaker
from bus.subjects import Cursor


class Broken:
    """A connection that answers the API and cannot subscribe."""

    connected = True

    async def api(self, _verb: str, body: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        return {"config": body["config"]}

    async def subscribe(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("no subscription today")

    def inbox(self) -> str:
        return "_INBOX.x"


async def test_a_taker_whose_pull_loop_broke_says_so_instead_of_waiting_for_ever() -> None:
    async with NatsQueue(Broken()).take(Cursor("c", "f.>"), slots=1) as taker:  # type: ignore[arg-type]
        async with asyncio.timeout(1):
            with pytest.raises(RuntimeError, match="no subscription today"):
                await taker.get()


class Recording:
    """A connection that takes everything and keeps how it was sent."""

    connected = True

    def __init__(self) -> None:
        self.at_once: list[bytes] = []
        self.lazily: list[bytes] = []

    def post(self, _subject: str, payload: bytes, **_: Any) -> None:
        self.at_once.append(payload)

    def post_lazily(self, _subject: str, payload: bytes) -> None:
        self.lazily.append(payload)

    def inbox(self) -> str:
        return "_INBOX.x"


async def nothing() -> None:
    return


def taker_of(connection: Recording, cursor: Cursor, slots: int) -> NatsTaker:
    return NatsTaker(connection, cursor, slots, nothing)  # type: ignore[arg-type]


async def test_no_more_is_held_than_there_are_slots_whatever_the_server_sends() -> None:
    connection = Recording()
    taker = taker_of(connection, Cursor("c", "f.>"), slots=2)
    for number in range(5):
        taker.on_message(Message("aion.task.x", f"$JS.ACK.LOG.c.1.{number}.1.1000.0", b"{}"))
    assert [(await taker.get()).entry.sequence for _ in range(2)] == [0, 1]
    assert connection.lazily == [b'-NAK {"delay": 100000000}'] * 3


@pytest.mark.parametrize(("cap", "waits"), [(1024, True), (2, False), (1, False)])
async def test_an_ack_waits_for_company_unless_its_place_is_scarce(cap: int, waits: bool) -> None:
    connection = Recording()
    taker = taker_of(connection, Cursor("c", "f.>", max_ack_pending=cap), slots=4)
    taker.on_message(Message("aion.task.x", "$JS.ACK.LOG.c.1.7.1.1000.0", b"{}"))
    delivery = await taker.get()
    await delivery.done()
    assert (connection.lazily, connection.at_once) == (([b"+ACK"], []) if waits else ([], [b"+ACK"]))


async def test_a_client_whose_own_loop_broke_is_closed_for_good() -> None:
    connection = Connection()

    async def breaks() -> None:
        raise RuntimeError("broken")

    loop = asyncio.create_task(breaks())
    loop.add_done_callback(partial(loop_ended, connection))
    async with asyncio.timeout(1):
        await connection.closed()
