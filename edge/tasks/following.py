"""One task as one ordered stream: its events from the log, its text from the token stream, without gap or repeat.

Nothing is kept for a stream that nobody reads on: events are read when they are asked for, and of live deltas no more
is held than `Deltas` has room for. No consumer stands on the server: two plain subscriptions wake the stream, and what
was missed is read by direct gets.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from bus.port import Bus, Entry
from bus.waiting import wait_at_most
from edge.tasks.bookmark import START, Bookmark
from edge.tasks.deltas import Deltas, missing
from edge.tasks.items import Finished, Happened, Item, Missed, Said
from edge.tasks.reading import Seen, find, state_of, without_params
from schemas.delta import Delta
from schemas.errors import Unavailable
from schemas.events import canonical_bytes
from schemas.ids import TaskId, TenantId
from schemas.message import Unreadable, decode, encode

LOOK_S: Final = 2.0
"""A lost wake-up costs this much and never an event."""
PATIENCE_S: Final = 10.0
"""How long a stream waits for a bus that cannot be read."""


@asynccontextmanager
async def follow(bus: Bus, tenant_id: TenantId, task_id: TaskId, after: Bookmark) -> AsyncIterator["Following"]:
    """The stream of a task behind `after`. Raises `NotFound`, `Unavailable`."""
    following = Following(bus, tenant_id, task_id, after)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus.tokens.live(tenant_id, task_id, following.hear))
        await stack.enter_async_context(bus.log.watch(tenant_id, task_id, following.stir))
        following.begin(await find(bus, tenant_id, task_id))
        yield following


class Following:
    """Items in order. A delta is handed out while the event it answers is the newest that was handed out.

    So it comes behind that event and before the next; what an attempt said after it was given up is dropped.
    """

    def __init__(self, bus: Bus, tenant_id: TenantId, task_id: TaskId, after: Bookmark) -> None:
        self._bus = bus
        self._task = tenant_id, task_id
        self._mark = after
        self._deltas = Deltas()
        self._events: deque[Happened | Finished] = deque()
        self._woken = asyncio.Event()
        self._woken.set()
        self._left = False
        self._event_due = True
        self._unreadable_since_s: float | None = None
        self._doubtful = True
        self._look_again = False
        self._kept = 0
        self._searched: Bookmark | None = None
        self._reconnects = bus.reconnects
        self.ended = False
        """Whether the last item was handed out, now or to who resumes behind it."""

    def hear(self, data: bytes) -> None:
        """The live subscription's callback: one delta."""
        try:
            delta = decode(data, Delta)
        except Unreadable:  # its number will be missed
            return
        self._doubtful = not self._deltas.add(delta) or self._doubtful
        self._woken.set()

    def stir(self) -> None:
        """The log's callback: there is a new event."""
        self._event_due = True
        self._woken.set()

    def begin(self, newest: Seen) -> None:
        """Both subscriptions stand; what they do not bring was there before `newest` was read.

        A task that nobody works on yet has said nothing, and one that has ended says it all in its result: only who
        was reading before gets the rest of the text. A delta is stored a moment after it was passed on: one that was
        just between the two is found by a second look.
        """
        if newest.result is not None:
            if newest.sequence == 0:  # from the ledger: only the end is left
                self._events.append(Finished(START, newest.result))
            else:
                self.ended = self._mark.sequence >= newest.sequence
        self._doubtful = newest.state != "accepted" and (newest.result is None or self._mark != START)
        self._look_again = self._doubtful

    @property
    def mark(self) -> Bookmark:
        """Up to where it was handed out: the resume id."""
        return self._mark

    def leave(self) -> None:
        """Let `next` give None at once, now and from now on."""
        self._left = True
        self._woken.set()

    @property
    def ahead(self) -> bool:
        """Whether events are held that were read together with the last that was handed out."""
        return bool(self._events)

    def put_back(self) -> None:
        """Hold no events that were read ahead: they are read again when they are asked for."""
        if self._events and self._events[0].mark.sequence:  # the ledger's end is in no log
            self._events.clear()
            self._event_due = True
            self._woken.set()

    async def stirred(self) -> None:
        """Returns when `next` may have something, `LOOK_S` later at the latest; nothing is read or held for it."""
        await self._wait(LOOK_S)

    async def next(self, timeout_s: float) -> Item | None:
        """The next item; None when there was none within `timeout_s`, after the end, and once it was left.

        Raises `Unavailable` when the bus could not be read for `PATIENCE_S`: others may reach it, follow there.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not (self.ended or self._left):
            self._woken.clear()
            item = await self._look()
            if item is not None:
                self._mark = item.mark
                self._woken.set()  # there may be more
                return item
            left_s = end_s - loop.time()
            if left_s <= 0:
                break
            await self._wait(min(left_s, LOOK_S))
        return None

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Every item to the end, however long it takes."""
        while not self.ended:
            item = await self.next(LOOK_S)
            if item is not None:
                yield item

    async def _wait(self, timeout_s: float) -> None:
        if not await wait_at_most(self._woken, timeout_s):
            self._event_due = True
            self._doubtful, self._look_again = self._look_again or self._doubtful, False

    async def _look(self) -> Item | None:
        """What is next; nothing while what may be next cannot be read."""
        try:
            item = await self._read()
        except Unavailable:
            now_s = asyncio.get_running_loop().time()
            if self._unreadable_since_s is None:
                self._unreadable_since_s = now_s
            if now_s - self._unreadable_since_s > PATIENCE_S:
                raise
            return None
        self._unreadable_since_s = None
        return item

    async def _read(self) -> Item | None:
        if self._event_due and not self._events:
            await self._read_events()
        item: Item | None = await self._text()
        if item is None and self._events:
            item = self._events.popleft()
            self.ended = isinstance(item, Finished)
        return item

    async def _read_events(self) -> None:
        self._event_due = False
        try:
            found = await self._bus.log.events(*self._task, after=self._mark.sequence)
        except Unavailable:
            self._event_due = True
            raise
        self._events.extend(map(_item, found))

    async def _text(self) -> Said | Missed | None:
        """What continues the text here, from what is held or from the token stream; a hole only when it has none."""
        if self._bus.reconnects != self._reconnects:  # the subscription was deaf; the server may be another
            self._reconnects, self._kept = self._bus.reconnects, 0
            self._doubtful = self._look_again = True
        found = self._deltas.next(self._mark)
        if self._doubtful and found is None:
            await self._replay()
            found = self._deltas.next(self._mark)
        if found is None:
            return None
        if found.sequence > self._mark.sequence:  # of an event that is to be read first
            self._event_due = self._event_due or not self._events
            return None
        said = self._deltas.take(self._mark)
        if said is None and self._searched != found:
            await self._search(found)
            self._searched = found
            return await self._text()
        return said or Missed(Bookmark(found.sequence, found.number - 1), missing(self._mark, found))

    async def _search(self, found: Bookmark) -> None:
        """Look in the token stream for what is missing before `found`, the first of what is held.

        What is held makes room, and comes back as it fits; the rest is read again, and where it lies is not known.
        """
        held, self._deltas = self._deltas, Deltas()
        try:
            await self._replay(found)
        finally:
            if not self._deltas.join(held):
                self._kept, self._doubtful = 0, True

    async def _replay(self, end: Bookmark | None = None) -> None:
        """Fill up from the token stream, up to `end`; in doubt still when not all of it was read."""
        self._doubtful = False  # until it turns out otherwise, or what is heard meanwhile finds no room
        try:
            while page := await self._bus.tokens.kept(*self._task, after=self._kept):
                for entry in page:
                    if not self._keep(entry, end):
                        self._doubtful = True
                        return
                    self._kept = entry.sequence
        except BaseException:
            self._doubtful = True
            raise

    def _keep(self, entry: Entry, end: Bookmark | None) -> bool:
        """False for what is not to be kept now."""
        try:
            delta = decode(entry.data, Delta)
        except Unreadable:
            return True
        place = delta.lease, delta.number
        if place <= self._mark:
            return True
        return (end is None or place < end) and self._deltas.add(delta)


def _item(entry: Entry) -> Happened | Finished:
    mark, name = Bookmark(entry.sequence), state_of(entry)
    if name == "ended":
        return Finished(mark, canonical_bytes(entry.data))
    return Happened(mark, name, encode(without_params(entry)))
