"""Tells everybody how far a projection is, also while its sink is down."""

import asyncio
from typing import Final

from actors.runtime.actor import Context
from bus import subjects
from schemas.errors import AionError
from schemas.message import encode
from schemas.registry import ProjectionPosition

MOVING_S: Final = 0.5
RESTING_S: Final = 5.0


class Beacon:
    """Puts a `ProjectionPosition` into `POSITIONS`: about every 0.5 s while moving, every 5 s at rest.

    Nothing is told while the sink lacks events and it is not known since when.

    It is a hint for the sweeper, so a failure to publish is only logged.
    """

    def __init__(self, name: str, context: Context) -> None:
        self._name = name
        self._context = context
        self._sequence: int | None = None
        self._at_ns: int | None = None
        self._told = -1

    def moved(self, sequence: int, at_ns: int | None) -> None:
        """The sink holds everything up to `sequence`; `at_ns` is the log's time of that event, None if unknown.

        Of a sink that holds nothing yet, it is the time of the first event that it lacks.
        """
        if at_ns is not None or sequence != self._sequence:
            self._at_ns = at_ns
        self._sequence = sequence

    def rest(self) -> None:
        """Tell nothing until moved again: another projection of this name writes, and tells."""
        self._sequence = self._at_ns = None
        self._told = -1

    async def run(self) -> None:
        """Publish until cancelled."""
        rested_s = RESTING_S
        while True:
            if self._sequence is not None and (self._sequence != self._told or rested_s >= RESTING_S):
                await self.publish()
                rested_s = 0.0
            await asyncio.sleep(MOVING_S)
            rested_s += MOVING_S

    async def publish(self) -> None:
        """Publish once, if a position is known."""
        if self._sequence is None:
            return
        sequence = self._sequence
        try:
            head = (await self._context.bus.log.info()).last
            if head > sequence and self._at_ns is None:
                return  # how far behind is not known yet; what was told last ages, which is the truth or more
            value = encode(self._position(sequence, max(head, sequence)))
            await self._context.bus.kv.put(subjects.POSITIONS, self._name, value)
        except AionError as error:
            self._context.log.warning("position_not_published", projection=self._name, code=error.code)
        else:
            self._told = sequence

    def _position(self, sequence: int, head: int) -> ProjectionPosition:
        """Lag is the age of the last event written, which is never less than the age of the first unwritten."""
        now_ms = self._context.now_ms()
        lag_s = 0.0
        if head > sequence and self._at_ns is not None:
            lag_s = max(0.0, now_ms / 1000 - self._at_ns / 1e9)
        return ProjectionPosition(projection=self._name, sequence=sequence, head=head, lag_s=lag_s, at_ms=now_ms)
