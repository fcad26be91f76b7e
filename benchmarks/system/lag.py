"""How far the projections are behind the log, asked of themselves."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from benchmarks.floor.wire import Wire
from bus.subjects import LOG_STREAM

POLL_S = 0.02
LOOK_S = 0.02
CATCH_UP_S = 180.0


@dataclass(frozen=True, slots=True)
class Lag:
    """Events missing when asked first, and seconds until none was."""

    events: int
    caught_up_s: float


class LagWatch:
    """How long each event takes until a projection has committed it, asked from outside every `LOOK_S`.

    Each look notes where the log ends, and the next look at which a projection has come so far gives one sample in
    milliseconds: an upper bound, by up to `LOOK_S` and the time of the questions.
    """

    def __init__(self, wire: Wire, projections: Sequence[str]) -> None:
        self._wire = wire
        self._open: dict[str, deque[tuple[float, int]]] = {name: deque() for name in projections}
        self._lags_ms: dict[str, list[float]] = {name: [] for name in projections}

    @property
    def lags_ms(self) -> Mapping[str, Sequence[float]]:
        """The samples so far, ascending."""
        return {name: sorted(lags) for name, lags in self._lags_ms.items()}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """One look at the log and at every projection."""
        now, end = perf_counter(), await last_sequence(self._wire)
        for looks in self._open.values():
            looks.append((now, end))
        await asyncio.gather(*(self._ask(name) for name in self._open))

    async def _ask(self, name: str) -> None:
        at, now = await position(self._wire, name) or 0, perf_counter()
        looks = self._open[name]
        while looks and looks[0][1] <= at:
            self._lags_ms[name].append((now - looks.popleft()[0]) * 1000)


async def last_sequence(wire: Wire) -> int:
    """The log's newest event."""
    info = await wire.api(f"STREAM.INFO.{LOG_STREAM}")
    return int(info["state"]["last_seq"])


async def position(wire: Wire, projection: str) -> int | None:
    """The sequence up to which the projection has committed; None while it is not following the log."""
    status = await _status(wire, projection)
    return int(status["sequence"]) if status is not None and not status.get("waiting") else None


async def own_lags_ms(wire: Wire, projection: str) -> tuple[float, float]:
    """The ages (p50, p99) of the events of its last writes at their commit, as the projection knows them."""
    status = await _status(wire, projection) or {}
    return float(status.get("lag_p50_ms", "nan")), float(status.get("lag_p99_ms", "nan"))


async def _status(wire: Wire, projection: str) -> dict[str, Any] | None:
    answer = await wire.ask(f"$SRV.STATS.{projection}")
    data: dict[str, Any] | None = json.loads(answer).get("data") if answer else None
    return data if data and "sequence" in data else None


async def reached(wire: Wire, reader: str, sequence: int) -> int:
    """Where a reader of the log is once it has come to `sequence`."""
    while True:
        at = await position(wire, reader)
        if at is not None and at >= sequence:
            return at
        await asyncio.sleep(POLL_S)


async def catch_up(wire: Wire, projections: Sequence[str]) -> dict[str, Lag]:
    """Wait until each projection has what the log holds now."""
    target, began = await last_sequence(wire), perf_counter()
    lags = await asyncio.gather(*(_one(wire, name, target, began) for name in projections))
    return dict(zip(projections, lags, strict=True))


async def _one(wire: Wire, name: str, target: int, began: float) -> Lag:
    missing = behind = target - (await position(wire, name) or 0)
    async with asyncio.timeout(CATCH_UP_S):
        while behind > 0:
            await asyncio.sleep(POLL_S)
            behind = target - (await position(wire, name) or 0)
    return Lag(max(0, missing), perf_counter() - began if missing > 0 else 0.0)
