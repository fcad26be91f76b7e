"""One round of the system: fresh servers, six actors, and the load loops here."""

from dataclasses import replace
from pathlib import Path
from time import process_time

from benchmarks.figures import Round, Usage, round_of
from benchmarks.floor.wire import Wire, connect
from benchmarks.load import closed_loop, open_loop
from benchmarks.processes import Children, cpu_us
from benchmarks.servers import messages, servers
from benchmarks.system.http import Pool, prepare
from benchmarks.system.lag import catch_up
from benchmarks.system.start import HOST, PROJECTIONS, create_key, environment, free_port, ready, start_actors
from benchmarks.workload import CLIENT, Plan, Sync, body
from deploy.local import env

WARM_UP_OPEN = 32


async def measure(folder: Path, plan: Plan, sync: Sync) -> Round:
    """Latency at a fixed rate, saturation, and how long the projections take to catch up."""
    async with servers(folder, sync) as infos:
        port = free_port()
        variables = environment(env(infos.values()), port, sync)
        wire = await connect(infos["nats"].url)
        with Children(folder / "logs", variables) as children:
            start_actors(children)
            pool = Pool(HOST, port, prepare(HOST, port, await create_key(variables), body()))
            await ready(children, wire, pool, port)
            pids = {f"{name} server": info.pid or 0 for name, info in infos.items()} | children.pids
            result = await _loops(pool, wire, plan, folder, pids)
            children.check()
            pool.close()
        wire.close()
    if result.failed:
        print(f"{result.failed} tasks failed; the last answer: {pool.failures[-1].decode(errors='replace')}")
    return result


async def _loops(pool: Pool, wire: Wire, plan: Plan, folder: Path, pids: dict[str, int]) -> Round:
    await pool.fill(WARM_UP_OPEN)
    await closed_loop(pool.send, tasks_open=WARM_UP_OPEN, seconds=plan.warm_up_s)
    await catch_up(wire, PROJECTIONS)
    await pool.fill(plan.tasks_open)
    fixed = await open_loop(pool.send, rate=plan.rate, seconds=plan.open_loop_s)
    await pool.fill(plan.tasks_open)
    before = usage(pids, folder)
    saturated = await closed_loop(pool.send, tasks_open=plan.tasks_open, seconds=plan.closed_loop_s)
    pool.check(plan.tasks_open)
    lags = await catch_up(wire, PROJECTIONS)
    result = round_of(fixed, saturated, before, usage(pids, folder))
    return replace(
        result,
        lag_events={name: lag.events for name, lag in lags.items()},
        caught_up_s={name: lag.caught_up_s for name, lag in lags.items()},
    )


def usage(pids: dict[str, int], folder: Path) -> Usage:
    """Counters now; the load generator is this process."""
    return Usage({**cpu_us(pids), CLIENT: process_time() * 1_000_000}, messages(folder))
