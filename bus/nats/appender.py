"""Appends to the log: singly when few wait, as one atomic batch when many do.

With `sync_interval: always` every append costs one fsync; an atomic batch (server >= 2.12, ADR-50) costs one for
all its members and is acknowledged after it. `Pace` says from how many on that pays: about 32 on a quiet disk (DESIGN
section 7), a few on a slow one.
A refused member refuses the batch; its members then go singly, so each caller gets its own answer.
"""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from nats.aio.msg import Msg

from bus.nats.connection import Connection, Headers
from bus.nats.pace import Pace
from bus.settings import BusSettings
from schemas.errors import AionError, LogFull, TooManyRequests, Unavailable, WrongSequence

_WRONG_SEQUENCE = frozenset({10071, 10164})
_FULL = frozenset({10047, 10077, 10023, 10122})


@dataclass(eq=False, slots=True)
class _Append:
    subject: str
    data: bytes
    guard: str | None
    after: int
    timeout_s: float
    done: asyncio.Future[int]

    def headers(self) -> dict[str, str]:
        if self.guard is None:
            return {}
        return {
            "Nats-Expected-Last-Subject-Sequence": str(self.after),
            "Nats-Expected-Last-Subject-Sequence-Subject": self.guard,
        }


class Appender:
    """Owns the appends in flight; enter it before use, leaving waits for them."""

    def __init__(self, connection: Connection, settings: BusSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._waiting: deque[_Append] = deque()
        self._pace = Pace(settings.group_wait_ms / 1000, settings.group_max)
        self._single = 0
        self._batching = False
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.batches = 0

    async def append(self, subject: str, data: bytes, *, guard: str | None, after: int, timeout_s: float) -> int:
        """The stored sequence. Raises `WrongSequence`, `LogFull`, `TooManyRequests`, `Unavailable`."""
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self._settings.max_waiting_appends:
            raise TooManyRequests(f"{len(self._waiting)} appends wait already", retry_after_s=1.0)
        item = _Append(subject, data, guard, after, timeout_s, loop.create_future())
        if not self._settings.group_appends:
            return await self._send(item)
        self._connection.check(subject, data, item.headers())
        self._waiting.append(item)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch)
        try:
            async with asyncio.timeout(timeout_s):
                return await item.done
        except TimeoutError as error:
            raise Unavailable(f"the log did not answer within {timeout_s:g} s", retry_after_s=1.0) from error

    async def close(self) -> None:
        """Wait for what is in flight; each append has its own deadline."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._batching:
            return
        singles = self._pace.singles
        if self._single + len(self._waiting) > singles and len(self._waiting) > 1:
            members = self._members()
            self._batching = True
            self._spawn(self._send_batch(members))
            return
        while self._waiting and self._single < singles:
            self._single += 1
            self._spawn(self._send_single(self._waiting.popleft()))

    def _members(self) -> list[_Append]:
        """At most `group_max` appends, one per task: the server checks a batch against what stood before it."""
        members: list[_Append] = []
        guards: set[str] = set()
        left: deque[_Append] = deque()
        while self._waiting and len(members) < self._settings.group_max:
            item = self._waiting.popleft()
            if item.done.done():
                continue
            if item.guard is not None and item.guard in guards:
                left.append(item)
                continue
            if item.guard is not None:
                guards.add(item.guard)
            members.append(item)
        self._waiting.extendleft(reversed(left))
        return members

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_single(self, item: _Append) -> None:
        loop = asyncio.get_running_loop()
        sent_at, in_flight = loop.time(), self._single
        try:
            sequence = await self._send(item)
            self._pace.took(loop.time() - sent_at, in_flight)
        except AionError as error:
            _fail(item, error)
        except asyncio.CancelledError:
            item.done.cancel()
            raise
        else:
            _resolve(item, sequence)
        finally:
            self._single -= 1
            self._dispatch()

    async def _send(self, item: _Append) -> int:
        reply = await self._connection.request(
            item.subject, item.data, timeout_s=item.timeout_s, headers=item.headers() or None
        )
        return _acknowledged(reply)[0]

    async def _send_batch(self, members: list[_Append]) -> None:
        self.batches += 1
        try:
            await self._try_batch(members)
        finally:
            self._batching = False
            self._dispatch()

    async def _try_batch(self, members: list[_Append]) -> None:
        try:
            last, count = await self._publish_batch(members)
        except WrongSequence:
            await asyncio.gather(*(self._retry_singly(item) for item in members))
        except AionError as error:
            for item in members:
                _fail(item, error)
        else:
            for number, item in enumerate(members):
                _resolve(item, last - count + 1 + number)

    async def _publish_batch(self, members: list[_Append]) -> tuple[int, int]:
        batch = uuid.uuid4().hex
        for number, item in enumerate(members[:-1], start=1):
            await self._connection.publish(item.subject, item.data, headers=_batch_headers(item, batch, number))
        final = members[-1]
        headers = {**_batch_headers(final, batch, len(members)), "Nats-Batch-Commit": "1"}
        reply = await self._connection.request(
            final.subject, final.data, timeout_s=max(item.timeout_s for item in members), headers=headers
        )
        return _acknowledged(reply)

    async def _retry_singly(self, item: _Append) -> None:
        self._single += 1
        await self._send_single(item)


def _batch_headers(item: _Append, batch: str, number: int) -> Headers:
    return {**item.headers(), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}


def _resolve(item: _Append, sequence: int) -> None:
    if not item.done.done():
        item.done.set_result(sequence)


def _fail(item: _Append, error: AionError) -> None:
    if not item.done.done():
        item.done.set_exception(error)


def _acknowledged(reply: Msg) -> tuple[int, int]:
    """(last sequence, number of stored messages), or the refusal as an error."""
    answer = json.loads(reply.data)
    error = answer.get("error")
    if not error:
        return int(answer["seq"]), int(answer.get("count", 1))
    code, text = int(error.get("err_code", 0)), str(error.get("description", ""))
    if code in _WRONG_SEQUENCE:
        raise WrongSequence(f"the log refused the append: {text}")
    if code in _FULL or "maximum" in text:
        raise LogFull(
            f"the log is full: {text}; wait for projections to catch up or raise nats.max_bytes", retry_after_s=5
        )
    raise Unavailable(f"the log refused the append: {text} (err_code {code})", retry_after_s=1.0)
