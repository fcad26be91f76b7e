"""One HTTP request over the virtual network, as a client with a deadline makes it."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from simulation.network import Network


class Response(NamedTuple):
    """What came back, whole."""

    status: int
    body: bytes


class Exchange(asyncio.Protocol):
    """Collects one response; a connection that ends before it is whole is an error."""

    def __init__(self) -> None:
        self._received = bytearray()
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        if found and len(body) >= _length(head) and not self.response.done():
            self.response.set_result(Response(int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.response.done():
            self.response.set_exception(exc or ConnectionResetError("closed before the answer was whole"))


async def ask(
    network: Network, port: int, line: str, headers: Mapping[str, str], body: bytes, timeout_s: float
) -> Response:
    """The response to `line` (`POST /v1/tasks`). Raises `ConnectionError` or `TimeoutError`; hangs up either way."""
    exchange = Exchange()
    transport = network.connect(port, exchange)
    try:
        fields = {**headers, "Host": "edge", "Content-Length": str(len(body)), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        transport.write(f"{line} HTTP/1.1\r\n{head}\r\n".encode() + body)
        async with asyncio.timeout(timeout_s):
            return await exchange.response
    finally:
        transport.abort()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
