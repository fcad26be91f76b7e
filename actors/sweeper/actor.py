"""The sweeper: reads the log, ends tasks past their deadline, keeps the log's window. Any number may run."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from pydantic import BaseModel

from actors.runtime import Actor, Context
from actors.sweeper.open_tasks import OpenTask, OpenTasks
from actors.sweeper.settings import SweeperSettings
from actors.sweeper.window import window_s
from bus.port import Entry, Reader
from bus.subjects import POSITIONS
from schemas.errors import AionError, DeadlineExceeded, Unavailable, WrongSequence
from schemas.events import AuditEvent, Ended, Outcome
from schemas.message import Unreadable, decode
from schemas.registry import ProjectionPosition
from schemas.result import TaskError, Usage

_TICK_S = 0.25
_LINGER_S = 0.2
"""Deadlines are grains of a second: nothing is gained by waking at each event."""
_BURST = 256


class Sweeper(Actor):
    """Owns nothing: its memory is rebuilt from the log at each start, and compare-and-set settles every race."""

    name: ClassVar[str] = "sweeper"
    description: ClassVar[str] = "ends overdue tasks and keeps the log's window"
    settings_type: ClassVar[type[BaseModel]] = SweeperSettings
    settings: SweeperSettings

    def __init__(self, context: Context, settings: SweeperSettings) -> None:
        super().__init__(context, settings)
        self._tasks = OpenTasks()
        self._positions: Mapping[str, bytes] = {}
        self._log_last = 0
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
        """Open tasks, tasks ended, and the window (None: everything is kept)."""
        return {"open": len(self._tasks), "swept": self._swept, "window_s": self._window}

    async def run(self) -> None:
        """Follow the log until drained; every tick end what is overdue.

        Nothing is swept before the log was read to where it stood at the start: until then an ended task whose end
        was not read yet looks overdue, and every batch would cost as many refused appends as tasks were open.
        """
        head = (await self.context.bus.log.info()).last
        async with self.context.bus.log.read(0, linger_s=_LINGER_S) as reader:
            while not self.context.draining.is_set():
                await self._read(reader)
                if self._log_last >= head:
                    await self._sweep()
                await self._keep_window()

    async def _read(self, reader: Reader) -> None:
        entries = await reader.next(_TICK_S)
        for entry in entries:
            self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        self._log_last = entry.sequence
        try:
            event = entry.event()
        except Unreadable:
            self.context.log.error("event_unreadable", sequence=entry.sequence, subject=entry.subject)
            return
        if not isinstance(event, AuditEvent):
            self._tasks.apply(event, entry.sequence)

    async def _sweep(self) -> None:
        before_ms = self.context.now_ms() - round(self.settings.grace_s * 1000)
        overdue = self._tasks.overdue(before_ms, _BURST)
        if overdue:
            await asyncio.gather(*(self._end(task) for task in overdue))

    async def _end(self, task: OpenTask) -> None:
        try:
            await self.context.bus.log.append(self._timeout(task), after=task.sequence, timeout_s=5.0)
        except WrongSequence:
            self._tasks.again(task)  # it moved on; what moved it arrives with the next read
        except Unavailable:
            self._tasks.again(task)
        except AionError as error:
            self.context.log.error("sweep_refused", task_id=task.task_id, error=error.code)
            self._tasks.again(task)
        else:
            self._swept += 1

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
            usage=Usage(latency_ms=max(0, now_ms - task.accepted_at_ms)),
            error=TaskError(code=DeadlineExceeded.code, message=f"no result within {allowed_s:g} s"),
        )

    async def _keep_window(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._window_due:
            return
        self._window_due = now_s + self.settings.window_every_s
        keep_s, required, now_ms = self.context.keep_s, self.settings.required, self.context.now_ms()
        wanted = window_s(keep_s, required, self._known(), self._log_last, now_ms)
        try:
            await self.context.bus.log.set_window(wanted)
        except AionError as error:
            self.context.log.warning("window_not_set", error=error.code)
            return
        if wanted != self._window:
            self.context.log.info("window_changed", window_s=wanted)
            self._window = wanted

    def _known(self) -> dict[str, ProjectionPosition]:
        known: dict[str, ProjectionPosition] = {}
        for name, data in self._positions.items():
            try:
                known[name] = decode(data, ProjectionPosition)
            except Unreadable:
                self.context.log.warning("position_unreadable", projection=name)
        return known
