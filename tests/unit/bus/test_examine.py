"""What is said of a server and its streams, without changing either."""

import asyncio

import pytest
from played import Serve, played

from bus.examine import differences, examine, server_info
from bus.nats.layout import log_config
from bus.settings import BusSettings
from schemas.errors import Unavailable


def greeting(with_: bytes) -> Serve:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(with_)

    return greet


async def test_a_server_is_read_before_anybody_logs_in() -> None:
    async with played(greeting(b'INFO {"version":"2.15.0","jetstream":true} \r\n')) as port:
        assert await server_info("127.0.0.1", port) == {"version": "2.15.0", "jetstream": True}


@pytest.mark.parametrize(
    ("line", "told", "fix"),
    [
        (b'INFO {"version":"2.11.9","jetstream":true}\r\n', "2.11.9 at 127.0.0.1", "2.12 or newer"),
        (b'INFO {"version":"2.15.0"}\r\n', "no JetStream", "-js"),
        (b"+OK redis\r\n", "not a NATS server", "AION_NATS__URL"),
    ],
)
async def test_what_is_wrong_with_a_server_is_named_with_its_fix(line: bytes, told: str, fix: str) -> None:
    async with played(greeting(line)) as port:
        (finding,) = await examine(BusSettings(url=f"nats://127.0.0.1:{port}"))
    assert not finding.ok
    assert told in finding.found
    assert fix in finding.fix


async def test_a_silent_server_is_given_up() -> None:
    async with played(greeting(b"")) as port:
        with pytest.raises(Unavailable, match=r"no answer within 0.01 s"):
            await server_info("127.0.0.1", port, timeout_s=0.01)


def test_a_stream_is_compared_field_by_field_except_for_the_window_that_the_sweeper_moves() -> None:
    wanted = log_config(BusSettings())
    as_echoed = {**wanted, "max_age": 0, "added_by_the_server": 1}
    assert differences(wanted, as_echoed) == []
    assert differences(wanted, {**as_echoed, "max_bytes": 5}) == [f"LOG has max_bytes=5, not {wanted['max_bytes']}"]
