"""What a guest says while it runs, on its way out of the cell: paced, bounded, and it never waits for the parent."""

import socket
import time
from collections.abc import Callable
from typing import Final

from executors.wasm.frames import Reply, Verdict, encode_reply

GATHER_S: Final = 0.03
"""What is said sooner stays here: a run that is over by then has said it all in its answer."""
BURST: Final = 32
PAUSE_S: Final = 0.01
"""Frames leave at once, up to a burst and on average one for each pause; past that several sayings share one."""


class Speech:
    """One run's at a time: `begin`, any number of `say`, `end`. Between `end` and `begin` nothing is taken."""

    def __init__(self, peer: socket.socket, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer = peer
        self._clock = clock
        self._room = 0
        self._began = 0.0
        self._sent = 0
        self._said = bytearray()
        self._unsent = bytearray()

    def begin(self, limit_bytes: int) -> None:
        """A run starts, which may say so much."""
        self._room, self._sent, self._began = limit_bytes, 0, self._clock()

    def say(self, text: bytes) -> bool:
        """Whether it was taken; False past the limit and outside of a run. Raises `OSError` without a parent."""
        if not text or len(text) > self._room:
            return False
        self._room -= len(text)
        self._said += text
        if not self._unsent and self._may_send():
            self._frame()
        self._push()
        return True

    def end(self) -> bytes:
        """The run is over: what must be sent before its answer, of a run that was heard before."""
        if self._sent and self._said:
            self._frame()
        rest = bytes(self._unsent)
        self._room = 0
        self._said.clear()
        self._unsent.clear()
        return rest

    def _may_send(self) -> bool:
        age_s = self._clock() - self._began
        return age_s >= GATHER_S and self._sent < BURST + age_s / PAUSE_S

    def _frame(self) -> None:
        self._unsent += encode_reply(Reply(Verdict.SAID, bytes(self._said)))
        self._said.clear()
        self._sent += 1

    def _push(self) -> None:
        if not self._unsent:
            return
        try:
            del self._unsent[: self._peer.send(self._unsent, socket.MSG_DONTWAIT)]
        except (BlockingIOError, InterruptedError):
            return
