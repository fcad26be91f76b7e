"""When what is written leaves."""

import asyncio
from typing import Any

from bus.nats.wire.link import Link


class Socket:
    """A transport that keeps each send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def set_write_buffer_limits(self, **_: Any) -> None:
        """Takes everything."""


async def _sent(operations: list[bytes]) -> list[bytes]:
    link, socket = Link(lambda _sid, _message: None), Socket()
    link.use(socket)  # type: ignore[arg-type]
    for operation in operations:
        link.write(operation)
    assert b"".join(operations).startswith(b"".join(socket.sent))
    await asyncio.sleep(0)
    link.info.cancel()
    return socket.sent


async def test_what_is_written_in_one_turn_leaves_in_one_send() -> None:
    assert await _sent([b"a", b"b", b"c"]) == [b"abc"]


async def test_much_of_one_turn_leaves_in_handfuls_and_in_order() -> None:
    operations = [b"%03d " % number for number in range(70)]
    sent = await _sent(operations)
    assert [len(data) // 4 for data in sent] == [32, 32, 6]
    assert b"".join(sent) == b"".join(operations)
