"""`python -m benchmarks.overload [--seconds 20] [--over 3] [--connections 4000] [--json]`

One edge on a core of its own, with a bus in memory and who answers its tasks in the same process, so that nothing but
this core is scarce. An open loop on another core offers three times of what it did at its best:

  goodput     what ended well, over the best of a closed loop before
  refused     how long a refusal took, from when the task was due
  after       ten seconds later, at half of the best rate
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import uvloop

from benchmarks.overload.offer import Found, Offer, percentile_ms
from benchmarks.report import machine
from benchmarks.system.start import HOST

READY_S = 30.0
STOP_S = 10.0
REFUSED = (429, 503)


@dataclass(frozen=True)
class Plan:
    """How much is offered for how long; `tasks_open` are those of the closed loop that finds the best rate."""

    seconds: float = 20.0
    over: float = 3.0
    connections: int = 4000
    tasks_open: int = 192
    warm_s: float = 2.0
    peak_s: float = 8.0
    rest_s: float = 10.0
    after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One run; rates a second, times in milliseconds, `edge_cpu_us` of the process for each task offered."""

    peak: float
    peak_p50_ms: float
    peak_refused: int
    offered: float
    goodput: float
    refused: int
    refused_p50_ms: float
    refused_p99_ms: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    retry_after_s: tuple[int, int]
    statuses: dict[int, int]
    after_p50_ms: float
    after_p99_ms: float
    after_not_well: int
    after: int

    @property
    def share(self) -> float:
        """The goodput, of the best."""
        return self.goodput / self.peak


async def measure(plan: Plan, settings: dict[str, object]) -> Figures:
    """One run against a fresh edge. Raises `RuntimeError` when it does not start."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        async with _edge(cores[0], settings) as (port, key):
            offer = Offer(HOST, port, key)
            await offer.connect(plan.tasks_open)
            await offer.with_open(plan.tasks_open, plan.warm_s)
            peak = await offer.with_open(plan.tasks_open, plan.peak_s)
            await offer.connect(plan.connections - plan.tasks_open)  # idle ones are cut off in time
            over = await offer.at_rate(plan.over * peak.goodput(), plan.seconds)
            await asyncio.sleep(plan.rest_s)
            after = await offer.at_rate(peak.goodput() / 2, plan.after_s)
            offer.close()
    finally:
        os.sched_setaffinity(0, cores)
    return figures_of(plan, peak, over, after)


def figures_of(plan: Plan, peak: Found, over: Found, after: Found) -> Figures:
    """The figures of its three loops."""
    refused, well = over.of(*REFUSED), over.of(200)
    again = [one.retry_after_s for one in refused]
    return Figures(
        peak=peak.goodput(),
        peak_p50_ms=percentile_ms(peak.answers, 0.5),
        peak_refused=len(peak.of(*REFUSED)),
        offered=plan.over * peak.goodput(),
        goodput=over.goodput(),
        refused=len(refused),
        refused_p50_ms=percentile_ms(refused, 0.5),
        refused_p99_ms=percentile_ms(refused, 0.99),
        accepted_p50_ms=percentile_ms(well, 0.5),
        accepted_p99_ms=percentile_ms(well, 0.99),
        retry_after_s=(min(again, default=0), max(again, default=0)),
        statuses=over.statuses,
        after_p50_ms=percentile_ms(after.answers, 0.5),
        after_p99_ms=percentile_ms(after.answers, 0.99),
        after_not_well=len(after.answers) - len(after.of(200)),
        after=len(after.answers),
    )


def text(figures: Figures) -> str:
    """For a person."""
    low, high = figures.retry_after_s
    after = f"{figures.after_not_well} of {figures.after} not well"
    rows = [
        f"best       {figures.peak:,.0f}/s, p50 {figures.peak_p50_ms:.1f} ms, {figures.peak_refused} refused",
        f"offered    {figures.offered:,.0f}/s: {figures.goodput:,.0f}/s well, {figures.share:.2f} of the best",
        f"refused    {figures.refused} in p50 {figures.refused_p50_ms:.1f}, p99 {figures.refused_p99_ms:.1f} ms",
        f"           to come back after {low} to {high} s; statuses {figures.statuses}",
        f"accepted   p50 {figures.accepted_p50_ms:.1f}, p99 {figures.accepted_p99_ms:.1f} ms",
        f"after      p50 {figures.after_p50_ms:.1f}, p99 {figures.after_p99_ms:.1f} ms, {after}",
    ]
    return "\n".join(rows)


@asynccontextmanager
async def _edge(core: int, settings: dict[str, object]) -> AsyncIterator[tuple[int, str]]:
    """The port and a key of an edge that is the only one on `core` that we know of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.overload.server", "--settings", json.dumps(settings)),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError("the edge did not start")
        place = json.loads(line)
        yield place["port"], place["key"]
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(STOP_S):
            await process.wait()


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--over", type=float, default=Plan.over, help="times of the best rate")
    parser.add_argument("--connections", type=int, default=Plan.connections)
    parser.add_argument("--max-lag-ms", type=float, help="of the edge; 0 sheds nothing")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args(arguments)
    plan = Plan(seconds=options.seconds, over=options.over, connections=options.connections)
    settings = {} if options.max_lag_ms is None else {"max_lag_ms": options.max_lag_ms}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(plan, settings))
    if options.json:
        print(json.dumps({"machine": machine(), **asdict(found)}, indent=2))
    else:
        print("\n".join([*(f"{name}: {value}" for name, value in machine().items()), text(found)]))


if __name__ == "__main__":
    main(sys.argv[1:])
