"""The loops of every door, in turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Final, NamedTuple

from benchmarks.doors.doors import SPINE, Door
from benchmarks.load import Sample, closed_loop, open_loop
from benchmarks.processes import cpu_us
from benchmarks.system.lag import catch_up
from benchmarks.system.start import PROJECTIONS, System

FIRST_MOVES: Final = 4
"""Doors by which the beginning of a round moves on."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How much is asked of each door. Loops are short, because doors are compared in turns and not with yesterday."""

    rate: float = 150.0
    open_s: float = 4.0
    tasks_open: int = 96
    closed_s: float = 3.0
    rounds: int = 3
    warm_up_s: float = 6.0


QUICK = Lengths(open_s=2.0, closed_s=1.5, rounds=1, warm_up_s=4.0)


class Figures(NamedTuple):
    """One door in one round. CPU is of the closed loop, microseconds a task; `client_share` is of one core."""

    p50_ms: float
    p99_ms: float
    tasks_per_s: float
    edge_cpu_us: float
    client_cpu_us: float
    client_share: float
    failed: float


async def warm_up(system: System, doors: Sequence[Door], lengths: Lengths) -> None:
    """Every door once, and the whole system for longer. Raises `RuntimeError` when a door does not let a task in."""
    await system.pool.fill(32)
    await closed_loop(system.pool.send, tasks_open=32, seconds=lengths.warm_up_s)
    for door in doors:
        await door.fill(16)
        sample = await closed_loop(door.send, tasks_open=16, seconds=0.5)
        if sample.failed or not sample.latencies_ms:
            raise RuntimeError(f"{door.name}: {sample.failed} tasks failed: {list(door.failures)}")


def turned(doors: Sequence[Door], turn: int) -> Sequence[Door]:
    """Another one comes first in each turn, so that none is always measured on a fresh or a tired machine."""
    first = turn * FIRST_MOVES % len(doors)
    return [*doors[first:], *doors[:first]]


async def round_of(system: System, doors: Sequence[Door], lengths: Lengths) -> dict[str, Figures]:
    """One round: each door's open loop, then its closed loop, with the projections caught up before each."""
    found = {}
    for door in doors:
        await catch_up(system.wire, PROJECTIONS)
        await door.fill(lengths.tasks_open)
        fixed = await open_loop(door.send, rate=lengths.rate, seconds=lengths.open_s)
        await door.fill(lengths.tasks_open)
        found[door.name] = await _saturated(system, door, fixed, lengths)
    return found


async def _saturated(system: System, door: Door, fixed: Sample, lengths: Lengths) -> Figures:
    pids = {door.edge: system.children.pids[door.edge]} if door.edge is not None else {}
    before, own, began = cpu_us(pids), process_time(), perf_counter()
    sample = await closed_loop(door.send, tasks_open=lengths.tasks_open, seconds=lengths.closed_s)
    own, lasted, tasks = process_time() - own, perf_counter() - began, max(1, len(sample.latencies_ms))
    used = sum(cpu_us(pids).values()) - sum(before.values())
    return Figures(
        p50_ms=fixed.percentile_ms(0.5),
        p99_ms=fixed.percentile_ms(0.99),
        tasks_per_s=sample.rate,
        edge_cpu_us=used / tasks,
        client_cpu_us=own * 1e6 / tasks,
        client_share=own / lasted,
        failed=fixed.failed + sample.failed,
    )


def medians(rounds: Sequence[dict[str, Figures]]) -> dict[str, Figures]:
    """Each door over its rounds; failures are added up."""
    found = {}
    for name in rounds[0]:
        columns = zip(*(one[name] for one in rounds), strict=True)
        figures = Figures(*(median(column) for column in columns))
        found[name] = figures._replace(failed=sum(one[name].failed for one in rounds))
    return found


def over_spine(rounds: Sequence[dict[str, Figures]]) -> dict[str, dict[str, float]]:
    """Each door's latency and saturation over the spine's of the same round: the median of those ratios."""
    return {
        name: {
            what: median(getattr(one[name], what) / getattr(one[SPINE], what) for one in rounds)
            for what in ("p50_ms", "p99_ms", "tasks_per_s")
        }
        for name in rounds[0]
    }
