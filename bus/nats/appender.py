"""Appends to the log: singly when few wait, as one atomic batch when many do.

With `sync_interval: always` every append costs one fsync; an atomic batch (server >= 2.12, ADR-50) costs one for
all its members and is acknowledged after it, but as much of its own as ten to twenty singles (ADR 0010): `group_min`
must wait before one is sent.
A refused member refuses the batch; its members then go singly, so each caller gets its own answer.
"""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass
from functools import partial

from bus.deadlines import Deadlines
from bus.nats.connection import WRONG_SEQUENCE, Connection, answered
from bus.nats.message import Message as Delivered
from bus.nats.message import head_of
from bus.settings import BusSettings
from schemas.errors import AionError, LogFull, TooManyRequests, Unavailable, WrongSequence
from schemas.message import Message, decode

_FULL = frozenset({10047, 10077, 10023, 10122})
_MAX_BATCH_BYTES = 8 << 20
"""Of payloads: a batch leaves in one write, and a link that cannot send 64 MiB is given up."""
_BATCH_BYTES = 128
"""What a batch adds to a member's headers, at most: `Nats-Batch-Id`, `Nats-Batch-Sequence`, `Nats-Batch-Commit`."""


@dataclass(eq=False, slots=True)
class _Append:
    subject: str
    data: bytes
    fields: bytes
    guard: str
    timeout_s: float
    done: asyncio.Future[int]
    reply: str = ""


class Appender:
    """Owns the appends in flight; `close` waits for them."""

    def __init__(self, connection: Connection, settings: BusSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(_expire)
        self._waiting: deque[_Append] = deque()
        self._singles: set[_Append] = set()
        self._batch: asyncio.Task[None] | None = None
        self._scheduled = False
        self.batches = 0

    async def append(self, subject: str, data: bytes, *, guard: str, after: int, timeout_s: float) -> int:
        """The stored sequence. Raises `WrongSequence`, `LogFull`, `PayloadTooLarge`, `TooManyRequests`, `Unavailable`.

        What is too large for a batch is too large: found out as its member, it would fail all others of it.
        """
        if len(self._waiting) >= self._settings.max_waiting_appends:
            raise TooManyRequests(f"{len(self._waiting)} appends wait already", retry_after_s=1.0)
        fields = _guarding(guard, after)
        self._connection.check(subject, data, fields, spare_bytes=_BATCH_BYTES)
        item = _Append(subject, data, fields, guard, timeout_s, self._loop.create_future())
        self._take(item)
        self._deadlines.add(item, timeout_s)
        try:
            return await item.done
        finally:
            self._deadlines.drop(item)
            self._forget(item)

    async def close(self) -> None:
        """Wait for what is in flight; each append has its own deadline."""
        flying = [item.done for item in self._singles]
        await asyncio.gather(*flying, *([self._batch] if self._batch else []), return_exceptions=True)

    def _take(self, item: _Append) -> None:
        if not self._settings.group_appends:
            self._send_single(item)
            return
        self._waiting.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _forget(self, item: _Append) -> None:
        """Its caller is gone: with an answer, or without one, then the place it took is free again."""
        if item in self._singles:
            self._singles.discard(item)
            self._connection.forget(item.reply)
            self._dispatch()

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._batch is not None:
            return
        group_min = self._settings.group_min
        if len(self._waiting) >= group_min:
            self._batch = self._loop.create_task(self._send_batch(self._members()), name="bus.batch")
            return
        while self._waiting and len(self._singles) < group_min:
            self._send_single(self._waiting.popleft())

    def _members(self) -> list[_Append]:
        """At most `group_max` appends, one per task: the server checks a batch against what stood before it."""
        members: list[_Append] = []
        guards: set[str] = set()
        left: deque[_Append] = deque()
        size_bytes = 0
        while self._waiting and len(members) < self._settings.group_max and size_bytes < _MAX_BATCH_BYTES:
            item = self._waiting.popleft()
            if item.done.done():
                continue
            if item.guard in guards:
                left.append(item)
                continue
            guards.add(item.guard)
            members.append(item)
            size_bytes += len(item.data)
        self._waiting.extendleft(reversed(left))
        return members

    def _send_single(self, item: _Append) -> None:
        if item.done.done():
            return  # its caller left while it waited
        self._singles.add(item)
        try:
            item.reply = self._connection.ask(
                item.subject, item.data, partial(self._answered, item), head=head_of(item.fields)
            )
        except AionError as error:
            self._singles.discard(item)
            _fail(item, error)

    def _answered(self, item: _Append, reply: Delivered | None) -> None:
        self._singles.discard(item)
        try:
            sequence = _acknowledged(answered(reply, item.subject))[0]
        except AionError as error:
            _fail(item, error)
        else:
            _resolve(item, sequence)
        if self._waiting:
            self._dispatch()

    async def _send_batch(self, members: list[_Append]) -> None:
        self.batches += 1
        try:
            await self._try_batch(members)
        finally:
            self._batch = None
            self._dispatch()

    async def _try_batch(self, members: list[_Append]) -> None:
        if not members:
            return
        try:
            last, count = await self._publish_batch(members)
        except WrongSequence:
            for item in members:
                self._send_single(item)
        except AionError as error:
            for item in members:
                _fail(item, error)
        else:
            for number, item in enumerate(members):
                _resolve(item, last - count + 1 + number)

    async def _publish_batch(self, members: list[_Append]) -> tuple[int, int]:
        batch = uuid.uuid4().hex
        for number, item in enumerate(members[:-1], start=1):
            self._connection.post(item.subject, item.data, head=head_of(_member(item, batch, number)))
        final = members[-1]
        fields = _member(final, batch, len(members)) + b"Nats-Batch-Commit: 1\r\n"
        reply = await self._connection.request(
            final.subject, final.data, timeout_s=max(item.timeout_s for item in members), head=head_of(fields)
        )
        return _acknowledged(reply)


def _guarding(guard: str, after: int) -> bytes:
    return (
        f"Nats-Expected-Last-Subject-Sequence: {after}\r\nNats-Expected-Last-Subject-Sequence-Subject: {guard}\r\n"
    ).encode()


def _member(item: _Append, batch: str, number: int) -> bytes:
    return item.fields + f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n".encode()


def _resolve(item: _Append, sequence: int) -> None:
    if not item.done.done():
        item.done.set_result(sequence)


def _expire(item: _Append) -> None:
    _fail(item, Unavailable(f"the log did not answer within {item.timeout_s:g} s", retry_after_s=1.0))


def _fail(item: _Append, error: AionError) -> None:
    if not item.done.done():
        item.done.set_exception(error)


class _Refusal(Message, forbid_unknown_fields=False):
    err_code: int = 0
    description: str = ""


class _PubAck(Message, forbid_unknown_fields=False):
    """What JetStream answers to a publish; `count` only to a batch."""

    seq: int = 0
    count: int = 1
    error: _Refusal | None = None


def _acknowledged(reply: Delivered) -> tuple[int, int]:
    """(last sequence, number of stored messages), or the refusal as an error."""
    answer = decode(reply.data, _PubAck)
    if answer.error is None:
        return answer.seq, answer.count
    code, text = answer.error.err_code, answer.error.description
    if code in WRONG_SEQUENCE:
        raise WrongSequence(f"the log refused the append: {text}")
    if code in _FULL or "maximum" in text:
        raise LogFull(
            f"the log is full: {text}; wait for projections to catch up or raise nats.max_bytes", retry_after_s=5
        )
    raise Unavailable(f"the log refused the append: {text} (err_code {code})", retry_after_s=1.0)
