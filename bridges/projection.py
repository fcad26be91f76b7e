"""The one loop that carries the log into an outside system, exactly once.

    await sink.claim()                            # asked until it is granted: another may be writing
    position = await sink.position()
    async with log.read(after=position) as reader:
        batch -> await sink.prepare(batch)        # while the batch before is being written
                 await sink.write(batch)          # data and position in one transaction

The sink stores the position with the data, so a crash at any point is answered by asking it where it is. What
cannot be answered that way (the log is not the one the position was taken from) halts the projection.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from actors.runtime.actor import Context
from bridges.beacon import Beacon
from bridges.lags import Lags
from bridges.position import Batch, Position, check_anchor, check_batch, check_source
from bridges.writing import one_write_at_a_time
from bus.port import Entry, Log
from bus.waiting import wait_at_most
from schemas.errors import AionError, Misconfigured, ProjectionHalted, ServerIncompatible, TakenOver, Unavailable

IDLE_S = 0.5
STANDBY_S = 1.0
LINGER_S = 0.02
"""The least wait for more, unless the settings say less."""
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 10.0


class Sink(Protocol):
    """Where a projection writes. Opened by its context manager, thrown away at the first error of any kind.

    The calling contract: `claim` is asked until it is granted, then `position` once, before any `write`; then `write`
    is called with consecutive batches, one at a time, each starting where the one before ended (`batch.after`), and
    `claim` again whenever nothing was to be written for a while. Only `prepare` is called while a write goes on, with
    the batch that may come next. A sink that raised, or whose call was cancelled, is never called again: the outcome of
    that write is unknown, and the next sink's `position` tells it. So either opening shuts out every earlier writer
    before `position` may answer, or `write` refuses whoever comes second.
    """

    async def claim(self) -> bool:
        """Whether this sink may write now. Asking again costs little, and shows the claim to be in use."""
        ...

    async def position(self) -> Position | None:
        """The position stored with the last committed write; None when nothing was ever written."""
        ...

    async def prepare(self, batch: Batch) -> None:
        """Do what `write` of this batch needs no server for, with pauses in which others run. May be called or not."""
        ...

    async def write(self, batch: Batch) -> None:
        """Make the batch and `batch.up_to` visible together, or neither.

        Raises `TakenOver` when another writer has replaced this one, any other exception for "try again".
        """
        ...


FINAL = (ProjectionHalted, TakenOver, Misconfigured, ServerIncompatible)
"""What trying again cannot change."""


class ProjectionSettings(BaseModel):
    """How a projection reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_events: int = Field(default=5000, ge=1, le=50_000, description="The most events of one transaction.")
    linger_ms: int = Field(
        default=75,
        ge=0,
        le=1000,
        description="How long a batch that is not full waits for more at most: twice what the last write took.",
    )
    begin_at_oldest: bool = Field(
        default=False, description="Let an empty sink begin at the oldest event kept when earlier ones are gone."
    )


@dataclass(slots=True)
class Figures:
    """What discovery shows of a projection."""

    position: Position | None = None
    events: int = 0
    writes: int = 0
    failures: int = 0
    standby: bool = False
    waiting: str | None = "the first position"


class Projection:
    """One log, one sink, one loop. `run` returns after the batch in hand once the context drains.

    Raises `ProjectionHalted`, `TakenOver`, `Misconfigured` and `ServerIncompatible`; everything else closes
    the sink, waits (full jitter, up to 10 s) and starts again from the sink's own position.
    """

    def __init__(
        self,
        name: str,
        context: Context,
        open_sink: Callable[[], AbstractAsyncContextManager[Sink]],
        settings: ProjectionSettings,
        *,
        idle_s: float = IDLE_S,
    ) -> None:
        self._context = context
        self._idle_s = idle_s
        self._open_sink = open_sink
        self._settings = settings
        self._log: Log = context.bus.log
        self._figures = Figures()
        self._beacon = Beacon(name, context)
        self._lags = Lags()
        self.name = name

    def ready(self) -> str | None:
        """None once the sink answered and its position fits the log, and as a standby."""
        return self._figures.waiting

    def status(self) -> Mapping[str, object]:
        """Figures since the start of the process; the ages of events at their commit over the last writes."""
        at = self._figures.position
        p50_ms, p99_ms = self._lags.percentiles_ms(0.5, 0.99)
        return {
            "sequence": at.sequence if at else 0,
            "events": self._figures.events,
            "writes": self._figures.writes,
            "failures": self._figures.failures,
            "lag_p50_ms": round(p50_ms, 1),
            "lag_p99_ms": round(p99_ms, 1),
            "standby": self._figures.standby,
            "waiting": self._figures.waiting,
        }

    async def run(self) -> None:
        """Project until drained."""
        beacon = asyncio.create_task(self._beacon.run(), name=f"{self.name}-beacon")
        try:
            await self._project()
        finally:
            beacon.cancel()
            await asyncio.gather(beacon, return_exceptions=True)
        await self._beacon.publish()

    async def _project(self) -> None:
        failed_in_a_row = 0
        while not self._context.draining.is_set():
            writes = self._figures.writes
            try:
                async with self._open_sink() as sink:
                    if await self._claimed(sink):
                        await self._follow(sink)
                return
            except FINAL as error:
                self._figures.waiting = error.message
                raise
            except Exception as error:  # crash-only: whatever it was, the next sink's position knows the outcome
                failed_in_a_row = 0 if self._figures.writes > writes else failed_in_a_row + 1
                self._figures.failures += 1
                self._figures.standby = False
                self._figures.waiting = error.message if isinstance(error, AionError) else type(error).__name__
                self._context.log.warning(
                    "projection_restarts", projection=self.name, error=f"{type(error).__name__}: {error}"[:500]
                )
                ceiling_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(failed_in_a_row, 10))
                await self._pause(self._context.rng.uniform(0, ceiling_s))

    async def _pause(self, seconds: float) -> None:
        await wait_at_most(self._context.draining, seconds)

    async def _claimed(self, sink: Sink) -> bool:
        """Wait for the sink's turn, ready as a standby; False when drained before it came."""
        while not self._context.draining.is_set():
            if await sink.claim():
                self._figures.standby = False
                return True
            if not self._figures.standby:
                self._context.log.info("projection_stands_by", projection=self.name)
                self._figures.standby, self._figures.waiting, self._figures.position = True, None, None
                self._beacon.rest()
            await self._pause(self._context.rng.uniform(0, STANDBY_S))
        return False

    async def _follow(self, sink: Sink) -> None:
        position = await sink.position()
        while not self._context.draining.is_set():
            position = await self._walk(sink, position)

    async def _walk(self, sink: Sink, position: Position | None) -> Position | None:
        """Write from `position` on. Returns with the new position when drained, or when the log may be another.

        That is after a silence was broken, which may hide a server that came back without its newest events, and once
        the reader had to begin anew, for which a restored or recreated log is one reason. What is read then is not
        trusted: the caller walks up to the position again.
        """
        info = await self._log.info()
        check_source(self.name, position, info, begin_at_oldest=self._settings.begin_at_oldest)
        after = position.sequence - 1 if position else max(info.first - 1, 0)
        self._moved(position, None)
        heard = silent = False
        loop, linger_s = asyncio.get_running_loop(), min(LINGER_S, self._settings.linger_ms / 1000)
        async with (
            self._log.read(max(after, 0), batch=self._settings.batch_events, linger_s=linger_s) as reader,
            one_write_at_a_time(self.name) as writing,
        ):
            begun = reader.restarts
            while not self._context.draining.is_set():
                entries = await writing.beside(reader.next(self._idle_s))
                if reader.restarts != begun:
                    break
                if not entries:
                    silent = heard
                    await writing.done()
                    await self._keep(sink)
                    continue
                if silent:
                    break
                if not heard:
                    self._begun(position, entries[0])
                heard = True
                check_anchor(self.name, position, entries[0])
                batch = check_batch(self.name, position, entries, created=info.created)
                if batch is None:
                    continue
                await writing.beside(sink.prepare(batch))
                await writing.done()
                if reader.restarts != begun or self._context.draining.is_set():
                    break  # what is in hand is read again, or by the next life
                writing.begin(self._write(sink, batch))
                position = batch.up_to
                if not reader.pending:
                    began_s = loop.time()  # caught up: what comes meanwhile belongs into one batch, not into two
                    await writing.done()
                    await self._linger(loop.time() - began_s)
        return position

    async def _linger(self, wrote_s: float) -> None:
        """Let entries gather after a write, so that no more than half of the time is spent writing.

        A write costs much the same however small, and takes long where the machine is busy: there batches are larger,
        elsewhere they come sooner.
        """
        pause_s = min(wrote_s, self._settings.linger_ms / 1000 - wrote_s)
        if pause_s > 0:
            await self._pause(pause_s)

    async def _keep(self, sink: Sink) -> None:
        if not await sink.claim():
            raise Unavailable(f"{self.name} lost its claim to write")

    async def _write(self, sink: Sink, batch: Batch) -> None:
        info = await self._log.info()
        check_source(self.name, batch.up_to, info, begin_at_oldest=True)
        await sink.write(batch)
        self._figures.writes += 1
        self._figures.events += len(batch.entries)
        now_ms, first, last = self._context.now_ms(), batch.entries[0], batch.entries[-1]
        self._lags.add(len(batch.entries), now_ms - first.at_ns / 1e6, now_ms - last.at_ns / 1e6)
        self._moved(batch.up_to, batch.entries[-1])

    def _begun(self, position: Position | None, first: Entry) -> None:
        """The first entry read: the one at the position, or the next where that was trimmed."""
        self._beacon.moved(position.sequence if position else 0, first.at_ns)

    def _moved(self, position: Position | None, newest: Entry | None) -> None:
        self._figures.position = position
        self._figures.waiting = None
        self._beacon.moved(position.sequence if position else 0, newest.at_ns if newest else None)
