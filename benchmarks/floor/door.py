"""The floor's HTTP server: `python -m benchmarks.floor.door URL PORT grouped|singly`.

As bare as the rest: each read is taken for one whole request, and every answer has the same bytes.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

from benchmarks.floor.submit import Submitter
from benchmarks.floor.wire import connect
from benchmarks.load import Send
from benchmarks.workload import accepted_bytes

HOST: Final = "127.0.0.1"
_RESULT: Final = b'{"status":"OK","result":"%b"}' % (b"x" * 600)
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_RESULT), _RESULT)
_FAILED: Final = b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n"


class Door(asyncio.Protocol):
    """One connection, with one request open at most."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._send(self._answer)

    def _answer(self, well: bool) -> None:
        if self._transport is not None:
            self._transport.write(_ANSWER if well else _FAILED)


async def serve(url: str, port: int, *, grouped: bool) -> None:
    """Work until the server goes away or the process is ended."""
    wire = await connect(url)
    submitter = Submitter(wire, accepted_bytes(), grouped=grouped)
    async with await asyncio.get_running_loop().create_server(lambda: Door(submitter.send), HOST, port):
        await wire.lost


def main(arguments: list[str]) -> None:
    """Serve."""
    url, port, mode = arguments
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(url, int(port), grouped=mode == "grouped"))


if __name__ == "__main__":
    main(sys.argv[1:])
