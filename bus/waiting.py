"""Deadlines that hold on every Python from 3.11.0 on, and waiting that does not last for ever."""

import asyncio
from types import TracebackType


class timeout:  # noqa: N801  # used like `asyncio.timeout`, whose name it carries
    """`async with timeout(5.0):` raises `TimeoutError` when the block takes longer.

    `asyncio.timeout` of Python 3.11.0 to 3.11.2, which Debian 12 has, takes its own expiry for the task's end when the
    task was cancelled before (gh-102780): the clean-up of a cancelled task would be cut short at its first deadline.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._expired = False

    def expired(self) -> bool:
        """Whether the time ran out."""
        return self._expired

    async def __aenter__(self) -> "timeout":
        """Start the clock."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout needs a task to cancel")
        self._task = task
        self._cancelled_before = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._delay_s), self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the clock; a cancellation that is ours alone becomes `TimeoutError`."""
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()


async def wait_at_most(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether `event` was set within `timeout_s`."""
    try:
        async with timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
