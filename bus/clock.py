"""The clock of a server as a client sees it, so that machines with clocks that differ agree on deadlines."""

import time
from collections.abc import Callable

MS_NS = 1_000_000


class ServerClock:
    """This machine's own clock until the server has told its time, then as near to the server's as that showed.

    Between two tellings it goes on by the monotonic clock: a machine that sets its own clock does not set this one.
    """

    def __init__(
        self, own_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._own_ns = own_ns
        self._monotonic_ns = monotonic_ns
        self._offset_ns = own_ns() - monotonic_ns()
        self._was_told = False

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return (self._monotonic_ns() + self._offset_ns) // MS_NS

    def asked(self) -> int:
        """What `told` takes: when the server was asked."""
        return self._monotonic_ns()

    def told(self, server_ns: int, asked_ns: int) -> float:
        """The server, asked at `asked_ns`, said that it was `server_ns` (Unix nanoseconds): the answer came just now.

        It said so at some moment between the two: at first half way is the best guess. Later the clock moves no further
        than to be possible by that, so that an answer that took long, or a process that was stopped meanwhile, moves
        nothing that was known better. Returns by how many seconds it moved.
        """
        earliest_ns, latest_ns = server_ns - self._monotonic_ns(), server_ns - asked_ns
        before_ns = self._offset_ns
        if not earliest_ns <= before_ns <= latest_ns:
            nearest_ns = earliest_ns if before_ns < earliest_ns else latest_ns
            self._offset_ns = nearest_ns if self._was_told else (earliest_ns + latest_ns) // 2
        self._was_told = True
        return (self._offset_ns - before_ns) / 1e9

    def ahead_ms(self) -> int:
        """By how much this machine's own clock is ahead of the server's; negative when it is behind."""
        return self._own_ns() // MS_NS - self.now_ms()
