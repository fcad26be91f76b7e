"""Compare-and-set appends at protocol level: singly, or as one atomic batch when many wait (ADR-0002)."""

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.floor.wire import Wire

GROUP_MIN = 32
GROUP_MAX = 256
"""As the design measured; the bus groups from 16 waiting appends on (ADR-0010)."""


class Append(NamedTuple):
    """One event: where it goes, which task's history it must follow, and who wants to know."""

    subject: bytes
    guard: bytes
    after: int
    data: bytes
    done: Callable[[bool], None]

    def headers(self) -> bytes:
        """The expectation, as every writer of the system sends it."""
        return b"Nats-Expected-Last-Subject-Sequence: %d\r\nNats-Expected-Last-Subject-Sequence-Subject: %b\r\n" % (
            self.after,
            self.guard,
        )


class Appends:
    """Sends appends and tells each of its outcome. With `grouped`, many that wait share one fsync."""

    def __init__(self, wire: Wire, *, grouped: bool) -> None:
        self._wire = wire
        self._grouped = grouped
        self._waiting: list[Append] = []
        self._single = 0
        self._batching = False
        self._scheduled = False

    def append(self, item: Append) -> None:
        """Store `item`; `item.done(stored)` is called once."""
        if not self._grouped:
            self._wire.request(item.subject, item.data, _answer(item), headers=item.headers())
            return
        self._waiting.append(item)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._batching or not self._waiting:
            return
        if self._single + len(self._waiting) >= GROUP_MIN and len(self._waiting) > 1:
            members, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            self._send_batch(members)
            return
        singles, self._waiting = self._waiting, []
        for item in singles:
            self._single += 1
            self._wire.request(item.subject, item.data, self._single_answer(item), headers=item.headers())

    def _single_answer(self, item: Append) -> Callable[[bytes, bytes], None]:
        def answered(_headers: bytes, payload: bytes) -> None:
            self._single -= 1
            item.done(b'"seq":' in payload)
            self._dispatch()

        return answered

    def _send_batch(self, members: list[Append]) -> None:
        self._batching = True
        batch = os.urandom(8).hex().encode()
        for number, item in enumerate(members[:-1], start=1):
            self._wire.publish(item.subject, item.data, headers=item.headers() + _member(batch, number))
        last = members[-1]
        headers = last.headers() + _member(batch, len(members)) + b"Nats-Batch-Commit: 1\r\n"
        self._wire.request(last.subject, last.data, self._batch_answer(members), headers=headers)

    def _batch_answer(self, members: list[Append]) -> Callable[[bytes, bytes], None]:
        def answered(_headers: bytes, payload: bytes) -> None:
            self._batching = False
            stored = b'"seq":' in payload
            for item in members:
                item.done(stored)
            self._dispatch()

        return answered


def _member(batch: bytes, number: int) -> bytes:
    return b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch, number)


def _answer(item: Append) -> Callable[[bytes, bytes], None]:
    return lambda _headers, payload: item.done(b'"seq":' in payload)
