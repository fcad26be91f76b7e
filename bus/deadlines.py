"""Many deadlines on one timer: setting and cancelling one for each request costs more than sending the request."""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Generic, TypeVar

K = TypeVar("K")
_RESOLUTION_S = 0.001
"""uvloop rounds its timers to milliseconds, so one may ring that much before its time."""


class Deadlines(Generic[K]):
    """Calls `late(key)`, which may not raise, once for each key whose time passes before it is dropped.

    The timer is set to the earliest time that was added and left there when that key is dropped: in a steady stream
    of requests it rings about once for each of their timeouts, and looks then for the next.
    """

    def __init__(self, late: Callable[[K], None]) -> None:
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._at_s: dict[K, float] = {}
        self._rings_at_s = inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: K, delay_s: float) -> None:
        """Start the clock of `key`, which must not be running."""
        at_s = self._at_s[key] = self._loop.time() + delay_s
        if at_s < self._rings_at_s:
            self._set(at_s)

    def drop(self, key: K) -> bool:
        """Stop the clock of `key`; whether it was still running."""
        return self._at_s.pop(key, None) is not None

    def _set(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at_s = at_s
        self._timer = self._loop.call_at(at_s, self._ring)

    def _ring(self) -> None:
        self._rings_at_s, self._timer = inf, None
        now_s = self._loop.time() + _RESOLUTION_S
        late = [key for key, at_s in self._at_s.items() if at_s <= now_s]
        next_s = min((at_s for at_s in self._at_s.values() if at_s > now_s), default=inf)
        if next_s < inf:
            self._set(next_s)
        for key in late:
            if self.drop(key):
                self._late(key)


class Limit:
    """`with Limit(deadlines, 5.0):` is `bus.waiting.timeout` on a timer shared with others: `TimeoutError` past it."""

    __slots__ = ("_cancelled_before", "_deadlines", "_delay_s", "_task")

    def __init__(self, deadlines: "Deadlines[Limit]", delay_s: float) -> None:
        self._deadlines = deadlines
        self._delay_s = delay_s

    def __enter__(self) -> None:
        """Start the clock."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a limit needs a task to cancel")
        self._task = task
        self._cancelled_before = task.cancelling()
        self._deadlines.add(self, self._delay_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clock; a cancellation that is ours alone becomes `TimeoutError`."""
        in_time = self._deadlines.drop(self)
        if in_time or self._task.uncancel() > self._cancelled_before:
            return
        if kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Called by its deadlines: cancel what runs inside."""
        self._task.cancel()
