"""What the connections of one twin share: the state of a server, without the wire."""

import asyncio
import time
from collections.abc import Callable
from contextvars import copy_context

from bus.memory.buckets import Buckets
from bus.memory.cursor import CursorState
from bus.memory.log_store import LogStore
from bus.memory.services import Services
from bus.memory.token_store import TokenStore
from bus.subjects import Cursor, is_work


class LoopClock:
    """Unix nanoseconds that advance with the running loop: wall time, or virtual time on a loop that has it."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None

    def __call__(self) -> int:
        """Now. Must be called inside a running loop."""
        loop_ns = round(asyncio.get_running_loop().time() * 1e9)
        if self._offset_ns is None:
            self._offset_ns = time.time_ns() - loop_ns
        return self._offset_ns + loop_ns


class MemoryServer:
    """Shared state of any number of `MemoryBus` connections in one loop.

    Its timers run in the context it was made in, whoever caused them: a server outlives its clients.
    `now_ns` is the log's clock; durations (acknowledgement waits, delays, TTLs) run on the loop's timers, so a
    loop with virtual time owns both. `max_bytes` counts as the real log does: full refuses, nothing is dropped.
    """

    def __init__(
        self,
        now_ns: Callable[[], int] | None = None,
        *,
        max_bytes: int = 1 << 30,
        max_age_s: float | None = 3600.0,
        max_payload_bytes: int = 1 << 20,
        tokens_keep_s: float = 300.0,
    ) -> None:
        self.now_ns = now_ns or LoopClock()
        self.log = LogStore(self.now_ns, max_bytes=max_bytes, max_age_s=max_age_s, max_payload_bytes=max_payload_bytes)
        self.tokens = TokenStore(self.now_ns, keep_s=tokens_keep_s)
        self.buckets = Buckets(copy_context())
        self.services = Services()
        self.listeners: dict[object, tuple[str, Callable[[str], None]]] = {}
        self._cursors: dict[str, CursorState] = {}
        self._context = copy_context()
        self._acks_to_lose = 0

    def now_ms(self) -> int:
        """The log's clock in Unix milliseconds."""
        return self.now_ns() // 1_000_000

    def cursor(self, cursor: Cursor) -> CursorState:
        """The shared state of `cursor`, created if absent, with the newest settings asked for."""
        state = self._cursors.get(cursor.name)
        if state is None:
            state = self._cursors[cursor.name] = CursorState(cursor, self.log, self._context)
        state.cursor = cursor
        return state

    def backlog(self) -> int:
        """What the work cursors have not answered."""
        work = [state for name, state in self._cursors.items() if is_work(name)]
        return sum(state.ahead() + state.unanswered() for state in work)

    def lose_next_ack(self, count: int = 1) -> None:
        """The next `count` appends are stored and their acknowledgements never arrive."""
        self._acks_to_lose += count

    def ack_is_lost(self) -> bool:
        """Whether the acknowledgement being sent now is one of those to lose."""
        if self._acks_to_lose == 0:
            return False
        self._acks_to_lose -= 1
        return True
