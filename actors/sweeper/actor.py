"""The sweeper: reads the log, ends tasks past their deadline, keeps the log's window. Any number may run."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from pydantic import BaseModel

from actors.runtime import Actor, Context
from actors.runtime.logs import failure
from actors.sweeper import mark
from actors.sweeper.open_tasks import OpenTask, OpenTasks
from actors.sweeper.settings import SweeperSettings
from actors.sweeper.window import window_s
from bus.port import Entry, LogInfo
from bus.subjects import POSITIONS
from bus.waiting import wait_at_most
from schemas.errors import AionError, DeadlineExceeded, Unavailable, WrongSequence
from schemas.events import Ended, Outcome
from schemas.message import Unreadable, decode, encode
from schemas.registry import ProjectionPosition, SweepMark
from schemas.result import TaskError, Usage

_TICK_S = 0.25
_AGAIN_S = 0.5
_LINGER_S = 0.2
"""Deadlines are grains of a second: nothing is gained by waking at each event."""
_BURST = 2048
_AT_ONCE = 256
_APPEND_S = 1.0
"""Everybody's deadlines wait for an append that is not answered; one that was stored after all is met when read."""


class Sweeper(Actor):
    """Owns nothing: its memory is rebuilt from the log at each start, and compare-and-set settles every race.

    It reads from where the oldest open task began, as any sweeper has marked it, else the whole log.
    """

    name: ClassVar[str] = "sweeper"
    description: ClassVar[str] = "ends overdue tasks and keeps the log's window"
    settings_type: ClassVar[type[BaseModel]] = SweeperSettings
    settings: SweeperSettings

    def __init__(self, context: Context, settings: SweeperSettings) -> None:
        super().__init__(context, settings)
        self._tasks = OpenTasks()
        self._positions: Mapping[str, bytes] = {}
        self._created = ""
        self._newest: Entry | None = None
        self._mark: SweepMark | None = None
        """What this walk began at, until the event by which to tell was read."""
        self._refuted: SweepMark | None = None
        self._marked = 0
        self._mark_due = 0.0
        self._swept = 0
        self._window: float | None = context.keep_s
        self._window_due = 0.0

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Know how far the projections are."""
        async with self.context.bus.kv.view(POSITIONS) as positions:
            self._positions = positions
            yield

    def status(self) -> Mapping[str, object]:
        """Open tasks, tasks ended, how far the log was read, and its window (None: everything is kept)."""
        figures = {"open": len(self._tasks), "swept": self._swept}
        return {**figures, "sequence": self._log_last, "window_s": self._window}

    async def run(self) -> None:
        """Follow the log until drained; every tick end what is overdue.

        What is known is checked against the log whenever the reader had to begin anew: in a log that was recreated or
        restored there may be other tasks under the sequences that were read. While it cannot be read it is tried again.
        """
        while not self.context.draining.is_set():
            try:
                await self._follow(await self._begin())
            except AionError as error:
                self.context.log.warning("log_unreadable", again_in_s=_AGAIN_S, **failure(error))
                await wait_at_most(self.context.draining, _AGAIN_S)

    async def _begin(self) -> int:
        """Where the log ends; what is known is forgotten when it is of another log, or of a longer one."""
        info = await self.context.bus.log.info()
        if info.created != self._created or info.last < self._log_last:
            self._forget()
        self._created = info.created
        if self._newest is None:
            self._mark = self._find_mark(info)
        return info.last

    def _find_mark(self, info: LogInfo) -> SweepMark | None:
        data = self._positions.get(mark.KEY)
        try:
            found = decode(data, SweepMark) if data else None
        except Unreadable:
            self.context.log.warning("mark_unreadable")
            return None
        return found if found is not None and found != self._refuted and mark.fits(found, info) else None

    def _forget(self) -> None:
        if self._newest is not None:
            self.context.log.warning("log_replaced", known_to=self._newest.sequence)
        self._tasks, self._newest, self._mark = OpenTasks(), None, None
        self._marked = 0

    @property
    def _log_last(self) -> int:
        return self._newest.sequence if self._newest is not None else 0

    @property
    def _read_after(self) -> int:
        if self._newest is None and self._mark is not None:
            return mark.begin_after(self._mark)
        return max(self._log_last - 1, 0)

    async def _follow(self, head: int) -> None:
        """Read on from the newest entry, which is read again; returns when drained, or when the log may be another.

        Nothing is swept before the log was read to where it stood at the start: until then an ended task whose end
        was not read yet looks overdue, and every batch would cost as many refused appends as tasks were open.
        """
        async with self.context.bus.log.read(self._read_after, linger_s=_LINGER_S) as reader:
            begun = reader.restarts
            while not self.context.draining.is_set():
                entries = await reader.next(_TICK_S)
                if reader.restarts != begun:
                    return
                if not self._take(entries):
                    self._forget()
                    return
                if self._log_last >= head:
                    await self._sweep()
                    await self._keep_mark()
                await self._keep_window()

    def _take(self, entries: Sequence[Entry]) -> bool:
        """Learn what is new in `entries`; False when another entry stands where the newest known one did.

        Likewise when it is not the log that the mark was made of: then that mark is not believed again.
        """
        known = self._newest
        if known is not None and entries and entries[0].sequence == known.sequence and entries[0] != known:
            return False
        if not self._believe(entries):
            return False
        for entry in entries:
            if entry.sequence > self._log_last:
                self._apply(entry)
        return True

    def _believe(self, entries: Sequence[Entry]) -> bool:
        begun_at = self._mark
        if begun_at is None:
            return True
        shown = next((entry for entry in entries if entry.sequence >= begun_at.seen), None)
        if shown is None:
            return True
        self._mark = None
        if mark.holds(begun_at, shown):
            return True
        self._refuted = begun_at
        return False

    def _apply(self, entry: Entry) -> None:
        self._newest = entry
        try:
            self._tasks.apply(entry)
        except Unreadable:
            self.context.log.error("event_unreadable", sequence=entry.sequence, subject=entry.subject)

    async def _sweep(self) -> None:
        """End what is overdue, at most `_BURST` tasks before the log is read on; the first silence ends it."""
        before_ms = self.context.now_ms() - round(self.settings.grace_s * 1000)
        overdue = self._tasks.overdue(before_ms, _BURST)
        answered = True
        for start in range(0, len(overdue), _AT_ONCE):
            several = overdue[start : start + _AT_ONCE]
            if answered:
                answered = all(await asyncio.gather(*(self._end(task) for task in several)))
            else:
                for task in several:
                    self._tasks.again(task)

    async def _end(self, task: OpenTask) -> bool:
        """Whether the log answered. What it refused is tried again once the next read has told why."""
        try:
            await self.context.bus.log.append(self._timeout(task), after=task.sequence, timeout_s=_APPEND_S)
        except AionError as error:
            if not isinstance(error, WrongSequence | Unavailable):
                self.context.log.error("sweep_refused", task_id=task.task_id, error=error.code)
            self._tasks.again(task)
            return not isinstance(error, Unavailable)
        self._swept += 1
        return True

    def _timeout(self, task: OpenTask) -> Ended:
        now_ms = self.context.now_ms()
        allowed_s = (task.deadline_ms - task.accepted_at_ms) / 1000
        return Ended(
            event_id=self.context.new_event_id(),
            tenant_id=task.tenant_id,
            task_id=task.task_id,
            at_ms=now_ms,
            traceparent=task.traceparent,
            outcome=Outcome.TIMEOUT,
            intent=task.intent,
            engine=task.engine,
            engine_name=task.engine_name,
            usage=Usage(latency_ms=max(0, now_ms - task.accepted_at_ms), cost_nanousd=task.spent_nanousd),
            error=TaskError(code=DeadlineExceeded.code, message=f"no result within {allowed_s:g} s"),
        )

    async def _keep_mark(self) -> None:
        """Tell whoever starts next where to begin. Without it they read more, nothing else."""
        now_s, newest = asyncio.get_running_loop().time(), self._newest
        if newest is None or now_s < self._mark_due or newest.sequence == self._marked:
            return
        self._mark_due = now_s + self.settings.mark_every_s
        value = encode(mark.mark_of(self._tasks.oldest(), newest, self._created))
        try:
            await self.context.bus.kv.put(POSITIONS, mark.KEY, value)
        except AionError as error:
            self.context.log.warning("mark_not_kept", error=error.code)
        else:
            self._marked = newest.sequence

    async def _keep_window(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._window_due:
            return
        self._window_due = now_s + self.settings.window_every_s
        log, keep_s = self.context.bus.log, self.context.keep_s
        positions = self._known()  # before the log's end, so that none of this log's is past it
        try:
            info = await log.info()
            wanted = window_s(keep_s, self.settings.required, positions, info.last, self.context.now_ms())
            if wanted != info.max_age_s:
                await log.set_window(wanted)
        except AionError as error:
            self.context.log.warning("window_not_set", error=error.code)
            return
        if wanted != self._window:
            self.context.log.info("window_changed", window_s=wanted)
            self._window = wanted

    def _known(self) -> dict[str, ProjectionPosition]:
        known: dict[str, ProjectionPosition] = {}
        for name in self.settings.required:
            data = self._positions.get(name)
            try:
                if data is not None:
                    known[name] = decode(data, ProjectionPosition)
            except Unreadable:
                self.context.log.warning("position_unreadable", projection=name)
        return known
