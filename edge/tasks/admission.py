"""Whether there is room for another task: refused before its body is read, while what was taken waits its turn."""

import asyncio
from collections.abc import Callable
from typing import Final

from actors.runtime import Context
from edge.tasks.forecast import Forecast
from schemas.errors import AionError, LogFull, Overloaded
from schemas.task import Priority

LOOK_S: Final = 1.0
ROOM_SHARE: Final = 0.9
"""Of the log's limit, for new tasks: the rest is kept so that those already accepted can be routed and ended."""
FULL_RETRY_S: Final = 5.0
BUSY_RETRY_S: Final = 2.0
LATEST_RETRY_S: Final = 10.0
"""A forecast made while everything stood still says hours; it is over seconds after that."""
DOUBT: Final = 1.25
"""A forecast may be a quarter too short: a task that waits in vain costs others their time."""


class Admission:
    """Knows how much is unanswered over all edges, at most about a second late; `check` asks nobody.

    While the bus cannot be asked, what was seen last counts: not knowing is no reason to refuse.
    """

    def __init__(self, context: Context, max_backlog: int, ended: Callable[[], int]) -> None:
        self._context = context
        self._max_backlog = max_backlog
        self._ended = ended
        self._forecast = Forecast()
        self._log_full = False
        self.backlog = 0
        self.refused = 0
        self.refused_for_time = 0

    def check(self) -> None:
        """Raise `LogFull` or `Overloaded`, each with when to come back, unless a new task has a place."""
        if self._log_full:
            self.refused += 1
            message = "the log is nearly full and keeps the rest for accepted tasks: raise nats.max_bytes or come back"
            raise LogFull(message, retry_after_s=self._later_s(FULL_RETRY_S))
        if self.backlog >= self._max_backlog:
            self.refused += 1
            message = f"{self.backlog} tasks wait already, {self._max_backlog} are the limit: come back later"
            raise Overloaded(message, retry_after_s=self._later_s(BUSY_RETRY_S))

    def check_time(self, priority: Priority, timeout_s: float) -> None:
        """Raise `Overloaded` when a task with so much time would only wait until it has passed; else count it as taken.

        `HIGH` waits in a lane of its own, and is not refused for what waits in the others.
        """
        forecast = self._forecast
        wait_s = forecast.wait_s(self._ended())
        if wait_s * DOUBT > timeout_s and priority is not Priority.HIGH:
            self.refused_for_time += 1
            message = f"it would wait about {wait_s:.1f} s and has {timeout_s:g} s: give it more, or come back later"
            later_s = min(LATEST_RETRY_S, max(1.0, wait_s - timeout_s / DOUBT))
            raise Overloaded(message, retry_after_s=self._later_s(later_s))
        forecast.took()

    async def watch(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """One look at the work queue and at the log's size."""
        bus = self._context.bus
        if not bus.connected:
            return
        try:
            backlog, info = await bus.queue.backlog(), await bus.log.info()
        except AionError as error:
            self._context.log.warning("edge.backlog_unknown", code=error.code)
            return
        self._forecast.look(backlog, self._ended(), asyncio.get_running_loop().time())
        was_full, was_over = self._log_full, self.backlog >= self._max_backlog
        self.backlog = backlog
        self._log_full = info.max_bytes is not None and info.size_bytes > info.max_bytes * ROOM_SHARE
        if (was_full, was_over) != (self._log_full, backlog >= self._max_backlog):
            self._context.log.warning("edge.admission_changed", backlog=backlog, log_bytes=info.size_bytes)

    def _later_s(self, least_s: float) -> float:
        """Up to twice as long, so that those refused together do not come back together."""
        return self._context.rng.uniform(least_s, 2 * least_s)
