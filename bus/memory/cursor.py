"""A shared named cursor on the log, with the explicit acknowledgement of a JetStream pull consumer."""

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

from bus.matching import matches
from bus.memory.log_store import LogStore
from bus.port import Entry
from bus.subjects import Cursor


@dataclass(slots=True)
class Unanswered:
    """One entry that was delivered and not acknowledged; it counts against `max_ack_pending`, even while delayed."""

    entry: Entry
    delivered: int = 0
    seen_s: float = 0.0  # loop time of the delivery or of the last sign of progress
    timer: asyncio.TimerHandle | None = None
    again: bool = False  # waits in the redelivery queue


class Hand(Protocol):
    """Where deliveries go: one open share."""

    @property
    def free(self) -> int:
        """How many more it can hold."""
        ...

    def hand(self, entry: Entry, delivered: int) -> None:
        """Take one."""
        ...


class CursorState:
    """Which entries are delivered, to be delivered again, or still ahead."""

    def __init__(self, cursor: Cursor, store: LogStore, context: Context) -> None:
        self.cursor = cursor
        self._store = store
        self._context = context
        self.redelivered = 0
        self._position = 0  # everything up to here was delivered once or does not match
        self._open: dict[int, Unanswered] = {}
        self._again: deque[int] = deque()
        self._hands: dict[Hand, None] = {}
        store.listeners[self] = self._stored

    def join(self, hand: Hand) -> None:
        """Deliver to `hand` as well."""
        self._hands[hand] = None
        self.pump()

    def leave(self, hand: Hand) -> None:
        """Deliver nothing more to `hand`; what it holds stays unanswered."""
        self._hands.pop(hand, None)

    def pump(self) -> None:
        """Deliver as long as someone has room and something may go out."""
        while (hand := self._next_hand()) is not None:
            item = self._next_again() or self._next_fresh()
            if item is None:
                return
            item.delivered += 1
            self.redelivered += item.delivered > 1
            self._arm(item)
            hand.hand(item.entry, item.delivered)

    def _stored(self, entry: Entry) -> None:
        if matches(self.cursor.filter, entry.subject):
            self.pump()
        elif self._position == entry.sequence - 1:
            self._position = entry.sequence

    def done(self, sequence: int) -> None:
        """Acknowledged, by whoever held it last or before."""
        item = self._open.pop(sequence, None)
        if item is not None and item.timer is not None:
            item.timer.cancel()
        self.pump()

    def give_back(self, sequence: int, delay_s: float) -> None:
        """Deliver it again after `delay_s`."""
        item = self._open.get(sequence)
        if item is None:
            return
        if item.timer is not None:
            item.timer.cancel()
        if delay_s > 0:
            item.timer = asyncio.get_running_loop().call_later(delay_s, self._requeue, item, context=self._context)
        else:
            self._requeue(item)

    def progress(self, sequence: int) -> None:
        """Its holder is alive: start `ack_wait_s` anew."""
        item = self._open.get(sequence)
        if item is not None:
            item.seen_s = asyncio.get_running_loop().time()

    def ahead(self) -> int:
        """Entries that were never delivered."""
        entries = self._store.after(self._position, self._store.last_sequence)
        return sum(matches(self.cursor.filter, entry.subject) for entry in entries)

    def unanswered(self) -> int:
        """Entries that are in hand or wait to be delivered again."""
        return len(self._open)

    def _next_hand(self) -> Hand | None:
        for hand in self._hands:
            if hand.free > 0:
                self._hands[hand] = self._hands.pop(hand)  # to the end: takers share evenly
                return hand
        return None

    def _next_again(self) -> Unanswered | None:
        while self._again:
            item = self._open.get(self._again.popleft())
            if item is None:
                continue
            item.again = False
            if self._store.get(item.entry.sequence) is not None:
                return item
            del self._open[item.entry.sequence]  # trimmed meanwhile: the server drops it too
        return None

    def _next_fresh(self) -> Unanswered | None:
        if len(self._open) >= self.cursor.max_ack_pending:
            return None
        while entries := self._store.after(self._position, 1):
            self._position = entries[0].sequence
            if matches(self.cursor.filter, entries[0].subject):
                item = self._open[self._position] = Unanswered(entries[0])
                return item
        return None

    def _arm(self, item: Unanswered) -> None:
        loop = asyncio.get_running_loop()
        item.seen_s = loop.time()
        item.timer = loop.call_later(self.cursor.ack_wait_s, self._expire, item, context=self._context)

    def _expire(self, item: Unanswered) -> None:
        loop = asyncio.get_running_loop()
        left_s = item.seen_s + self.cursor.ack_wait_s - loop.time()
        if left_s > 1e-6:
            item.timer = loop.call_later(left_s, self._expire, item, context=self._context)
        else:
            self._requeue(item)

    def _requeue(self, item: Unanswered) -> None:
        item.timer = None
        if not item.again and item.entry.sequence in self._open:
            item.again = True
            self._again.append(item.entry.sequence)
        self.pump()
