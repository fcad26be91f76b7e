"""How far projections are behind: `python -m benchmarks.lag [--rate 800] [--seconds 20] [--mode page-cache] [--json]`.

The whole system under an open loop; for each projection, the time from an event's append until it is committed to Kafka
or PostgreSQL: as it tells itself of its last writes under load, and asked from outside, which is an upper bound.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import report
from benchmarks.load import closed_loop, open_loop
from benchmarks.system.lag import LagWatch, catch_up, own_lags_ms
from benchmarks.system.start import PROJECTIONS, System, running
from benchmarks.workload import MODES

CONNECTIONS = 192
WARM_UP_OPEN = 32
WARM_UP_S = 8.0


@dataclass(frozen=True, slots=True)
class Lags:
    """Milliseconds by projection, and the load under which they were seen."""

    rate: float
    tasks_per_s: float
    failed: int
    samples: int
    own_ms: dict[str, tuple[float, float]]
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag", description=__doc__)
    parser.add_argument("--rate", type=float, default=800.0, help="tasks a second (800)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (20)")
    parser.add_argument("--mode", choices=MODES, default="page-cache", help="durability of the log (page-cache)")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    return parser.parse_args(arguments)


async def measure(system: System, rate: float, seconds: float) -> Lags:
    """Warm up, then watch the projections under load until they have caught up."""
    pool = system.pool
    await pool.fill(WARM_UP_OPEN)
    await closed_loop(pool.send, tasks_open=WARM_UP_OPEN, seconds=WARM_UP_S)
    await catch_up(system.wire, PROJECTIONS)
    await pool.fill(CONNECTIONS)
    watch = LagWatch(system.wire, PROJECTIONS)
    watching = asyncio.create_task(watch.run())
    try:
        load = await open_loop(pool.send, rate=rate, seconds=seconds)
        own_ms = {name: await own_lags_ms(system.wire, name) for name in PROJECTIONS}
        await catch_up(system.wire, PROJECTIONS)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    lags = watch.lags_ms
    return Lags(
        rate,
        load.rate,
        load.failed,
        min(map(len, lags.values())),
        own_ms,
        {name: _percentile(found, 0.5) for name, found in lags.items()},
        {name: _percentile(found, 0.99) for name, found in lags.items()},
    )


def _percentile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def text(found: Lags) -> str:
    """For a person."""
    lines = [f"{found.tasks_per_s:,.0f} tasks/s of {found.rate:,.0f}, {found.failed} failed, {found.samples} looks"]
    for name, (p50_ms, p99_ms) in found.own_ms.items():
        bound = f"from outside at most {found.p50_ms[name]:.0f} and {found.p99_ms[name]:.0f} ms"
        lines.append(f"{name}: p50 {p50_ms:.0f} ms, p99 {p99_ms:.0f} ms; {bound}")
    return "\n".join(lines)


async def _measured(folder: Path, options: argparse.Namespace) -> Lags:
    async with running(folder, options.mode) as system:
        return await measure(system, options.rate, options.seconds)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="aion-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(_measured(Path(folder), options))
    print(json.dumps({**report.machine(), **asdict(found)}) if options.json else text(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
