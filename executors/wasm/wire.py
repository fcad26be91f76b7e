"""The parent's end of a cell's socket: frames out, together per turn of the loop; bodies in, until the very end.

Not a transport: a transport drops what is still unread when a write fails, and a reply unread is a run taken for lost.
Here a failed write is ignored, and the end comes only after the last reply was read.
"""

import asyncio
import socket
from collections.abc import Callable

from executors.wasm.frames import CHUNK_BYTES, FrameError, Frames


class Wire:
    """Calls `on_body` for every frame and `on_end` once, after the last; a malformed frame is the end too."""

    def __init__(self, peer: socket.socket, on_body: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._peer = peer
        self._on_body = on_body
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._received = Frames()
        self._unsent = bytearray()
        self._open = True
        peer.setblocking(False)
        self._loop.add_reader(peer, self._read)

    def send(self, frames: list[bytes]) -> None:
        """Send now what the socket takes, the rest when it can."""
        blocked = bool(self._unsent)
        self._unsent += b"".join(frames)
        if self._open and not blocked and not self._write():
            self._loop.add_writer(self._peer, self._continue)

    def close(self) -> None:
        """Safe at any time and more than once; `on_end` is not called."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._peer)
            self._loop.remove_writer(self._peer)
            self._peer.close()

    def _continue(self) -> None:
        if self._write():
            self._loop.remove_writer(self._peer)

    def _write(self) -> bool:
        try:
            sent = self._peer.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # the cell is gone; the end is told by the reader, behind its last replies
            sent = len(self._unsent)
        del self._unsent[:sent]
        return not self._unsent

    def _read(self) -> None:
        try:
            chunk = self._peer.recv(CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        self._received.feed(chunk)
        try:
            while (body := self._received.next()) is not None:
                self._on_body(body)
        except FrameError:
            chunk = b""
        if not chunk and self._open:
            self.close()
            self._on_end()
