"""One round of the system: fresh servers, six actors, and the load loops here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import process_time

from benchmarks.figures import Round, Usage, round_of
from benchmarks.load import closed_loop, open_loop
from benchmarks.processes import cpu_us
from benchmarks.servers import messages
from benchmarks.system.lag import catch_up
from benchmarks.system.start import PROJECTIONS, System, running
from benchmarks.workload import CLIENT, Plan, Sync

WARM_UP_OPEN = 32


async def measure(folder: Path, plan: Plan, sync: Sync) -> Round:
    """Latency at a fixed rate, saturation, and how long the projections take to catch up."""
    async with running(folder, sync) as system:
        result = await _loops(system, plan)
    if result.failed:
        print(f"{result.failed} tasks failed; the last answer: {system.pool.failures[-1].decode(errors='replace')}")
    return result


async def _loops(system: System, plan: Plan) -> Round:
    pool, wire = system.pool, system.wire
    await pool.fill(WARM_UP_OPEN)
    await closed_loop(pool.send, tasks_open=WARM_UP_OPEN, seconds=plan.warm_up_s)
    await catch_up(wire, PROJECTIONS)
    await pool.fill(plan.tasks_open)
    fixed = await open_loop(pool.send, rate=plan.rate, seconds=plan.open_loop_s)
    await pool.fill(plan.tasks_open)
    before = usage(system.pids, system.folder)
    saturated = await closed_loop(pool.send, tasks_open=plan.tasks_open, seconds=plan.closed_loop_s)
    pool.check(plan.tasks_open)
    lags = await catch_up(wire, PROJECTIONS)
    result = round_of(fixed, saturated, before, usage(system.pids, system.folder))
    return replace(
        result,
        lag_events={name: lag.events for name, lag in lags.items()},
        caught_up_s={name: lag.caught_up_s for name, lag in lags.items()},
    )


def usage(pids: Mapping[str, int], folder: Path) -> Usage:
    """Counters now; the load generator is this process."""
    return Usage({**cpu_us(pids), CLIENT: process_time() * 1_000_000}, messages(folder))
