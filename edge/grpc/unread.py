"""Messages that have not come yet: each has its time, and only so many are waited for."""

import asyncio
from typing import Any, TypeAlias, cast

import grpc.aio

from edge.grpc.wire import Wire
from schemas.errors import AionError, InvalidRequest, TooManyRequests

CallTask: TypeAlias = "asyncio.Task[Any]"
"""The task that answers one call."""


class Unread:
    """Waits `timeout_s` for each message, and for `limit` at once.

    Where one too many is waited for, the call that has waited longest is refused: a client that sends its message with
    the call is never the one. One timer serves all, for the first that came is the first whose time is over.
    """

    def __init__(self, timeout_s: float, limit: int) -> None:
        self._timeout_s = timeout_s
        self._limit = limit
        self._until: dict[CallTask, float] = {}
        self._refused: dict[CallTask, AionError] = {}
        self._timed = False

    async def message(self, wire: Wire, task: CallTask) -> bytes:
        """The call's message, in its own task.

        Raises `InvalidRequest` when none comes in time, `TooManyRequests` when too many are waited for.
        """
        if len(self._until) >= self._limit:
            self._make_room()
        loop = asyncio.get_running_loop()
        until = self._until[task] = loop.time() + self._timeout_s
        if not self._timed:
            self._look_at(until, loop)
        try:
            data: object = await wire.read()
        except asyncio.CancelledError:
            refusal = self._refused.pop(task, None)
            if refusal is None or task.uncancel():  # the client has left
                raise
            raise refusal from None
        finally:
            self._until.pop(task, None)
        if data is grpc.aio.EOF:
            raise InvalidRequest("the call has ended without a message: send one")
        return cast(bytes, data)

    def _make_room(self) -> None:
        what = f"{self._limit} calls wait for their messages, the limit, and this one waited longest"
        refusal = TooManyRequests(f"{what}: send the message with the call", retry_after_s=1)
        self._refuse(next(iter(self._until)), refusal)

    def _look_at(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        self._timed = True
        loop.call_at(when, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse the calls whose time is over, and come again for the next one's."""
        self._timed = False
        now = loop.time()
        while self._until:
            task, until = next(iter(self._until.items()))
            if until > now:
                self._look_at(until, loop)
                return
            what = f"the message was not complete after {self._timeout_s:g} s"
            self._refuse(task, InvalidRequest(f"{what}: send it with the call"))

    def _refuse(self, task: CallTask, refusal: AionError) -> None:
        del self._until[task]
        self._refused[task] = refusal
        task.cancel()
