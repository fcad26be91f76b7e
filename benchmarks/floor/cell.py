"""The floor's cell: a child process that sends back what it is sent, where the system runs a guest.

`python -m benchmarks.floor.cell FD` is the child; `Cell` is the parent's end.
"""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Final, cast

CHUNK_BYTES: Final = 1 << 16


class Cell(asyncio.Protocol):
    """Runs come back in order. The child ends with its parent, when the socket closes; open it with `open_cell`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self._transport: asyncio.WriteTransport | None = None
        self._running: deque[tuple[int, Callable[[], None]]] = deque()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def run(self, payload: bytes, done: Callable[[], None]) -> None:
        """Call `done` once all of `payload` came back."""
        assert self._transport is not None
        self._running.append((len(payload), done))
        self._transport.write(payload)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        while self._running and self._received >= self._running[0][0]:
            size_bytes, done = self._running.popleft()
            self._received -= size_bytes
            done()


async def open_cell() -> Cell:
    """A child, started."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = (sys.executable, "-m", "benchmarks.floor.cell", str(theirs.fileno()))
        child = await asyncio.create_subprocess_exec(*command, pass_fds=(theirs.fileno(),))
    _, cell = await asyncio.get_running_loop().create_connection(lambda: Cell(child), sock=ours)
    return cell


def main(descriptor: int) -> None:
    """Send back what comes until the parent hangs up."""
    with socket.socket(fileno=descriptor) as peer:
        while data := peer.recv(CHUNK_BYTES):
            peer.sendall(data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
