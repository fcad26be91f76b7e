"""One soak: fresh servers, every actor, saturation, then half of it for long."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks.floor.wire import Wire
from benchmarks.load import Sample, closed_loop, open_loop
from benchmarks.soak.bounds import bound_of
from benchmarks.soak.judge import Series, Trend, judge
from benchmarks.soak.logs import Logs
from benchmarks.soak.watch import Watch
from benchmarks.system.http import Pool
from benchmarks.system.lag import Lag, catch_up
from benchmarks.system.start import PROJECTIONS, running
from benchmarks.workload import Sync

CONNECTIONS = 32
TASKS_OPEN = 192
WARM_UP_S = 10.0
SATURATION_S = 20.0
SLICE_S = 30.0
LEAST_KEEP_S, MOST_KEEP_S = 20.0, 300.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; without a rate it is half of saturation."""

    minutes: float
    rate: float | None
    sync: Sync

    @property
    def seconds(self) -> float:
        """How long the load lasts."""
        return self.minutes * 60

    @property
    def keep_s(self) -> float:
        """The log's window: a sixth of the run, so that what the second half sees is trimmed as fast as written."""
        return min(MOST_KEEP_S, max(LEAST_KEEP_S, self.seconds / 6))


@dataclass(frozen=True, slots=True)
class Soaked:
    """Everything that was found."""

    order: Order
    saturation: float
    rate: float
    load: Sample
    lags: Mapping[str, Lag]
    series: Sequence[Series]
    trends: Sequence[Trend]
    logs: Logs
    failures: Sequence[str]
    """The newest answers that were not a result."""

    @property
    def broken(self) -> list[str]:
        """The bounds that did not hold."""
        found = [
            f"{trend.kind} of {trend.subject} rises by {trend.slope:.3g} an hour, over {trend.bound:.3g}"
            for trend in self.trends
            if trend.grows
        ]
        if self.load.failed:
            found.append(f"{self.load.failed} tasks failed; one answer: {self.failures[-1] if self.failures else '?'}")
        found += [f"{count} complaints in the log of {actor}" for actor, count in self.logs.complaints.items()]
        return found


async def soak(order: Order, folder: Path) -> Soaked:
    """From an empty folder to a judgement. Raises `RuntimeError` when an actor ends, `TimeoutError` when one hangs."""
    logs = Logs(folder / "logs")
    kafka_keeps_ms = str(round(order.keep_s * 1000))  # it has a file open for each 16 MiB that it keeps
    settings = {"AION_NATS__KEEP_S": str(order.keep_s), "AION_KAFKA__RETENTION_MS": kafka_keeps_ms}
    async with running(folder, order.sync, **settings) as system:
        watch = Watch(system.wire, system.children, system.pids, logs)
        found = await _load(order, system.pool, system.wire, watch, logs)
    logs.read_on()
    return found


async def _load(order: Order, pool: Pool, wire: Wire, watch: Watch, logs: Logs) -> Soaked:
    await pool.fill(CONNECTIONS)
    await closed_loop(pool.send, tasks_open=CONNECTIONS, seconds=WARM_UP_S)
    await pool.fill(TASKS_OPEN)
    saturated = await closed_loop(pool.send, tasks_open=TASKS_OPEN, seconds=SATURATION_S)
    pool.check(TASKS_OPEN)
    await catch_up(wire, PROJECTIONS)
    rate = order.rate or saturated.rate / 2
    load = await _watched(pool, rate, order.seconds, watch)
    lags = await catch_up(wire, PROJECTIONS)
    series = watch.series()
    trends = [judge(one, bound_of(one.kind, one.subject, rate)) for one in series]
    failures = [answer.decode(errors="replace") for answer in pool.failures]
    return Soaked(order, saturated.rate, rate, load, lags, series, trends, logs, failures)


async def _watched(pool: Pool, rate: float, seconds: float, watch: Watch) -> Sample:
    """The load, a slice after the other; what ends the watch ends it after the slice in hand."""
    watching = asyncio.create_task(watch.run())
    slices: list[Sample] = []
    try:
        while (left := seconds - sum(one.seconds for one in slices)) > 0.5 and not watching.done():
            await pool.fill(CONNECTIONS)
            slices.append(await open_loop(pool.send, rate=rate, seconds=min(SLICE_S, left)))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    latencies = sorted(chain.from_iterable(one.latencies_ms for one in slices))
    return Sample(tuple(latencies), sum(one.failed for one in slices), sum(one.seconds for one in slices))
