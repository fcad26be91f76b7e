"""Randomness that nobody can guess, without a system call for each id."""

import os
from random import SystemRandom
from typing import Final

_FETCH_BYTES: Final = 1024


class Chance(SystemRandom):
    """The operating system's randomness; `randbytes` fetches it in pieces and hands out no byte twice.

    For one thread of one process: a fork would hand out the same bytes on both sides, and AION never forks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fetched = b""
        self._used = 0

    def randbytes(self, n: int) -> bytes:
        """`n` bytes, as good as `os.urandom(n)`."""
        start, end = self._used, self._used + n
        if end > len(self._fetched):
            self._fetched = os.urandom(max(n, _FETCH_BYTES))
            start, end = 0, n
        self._used = end
        return self._fetched[start:end]
