"""What one round measured, and rounds put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from benchmarks.load import Sample
from benchmarks.workload import CLIENT


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of one round of one subject: the floor or the system."""

    p50_ms: float
    p99_ms: float
    tasks_per_s: float
    saturated_p50_ms: float
    failed: int
    messages_per_task: float
    cpu_us_per_task: Mapping[str, float]
    lag_events: Mapping[str, int] = field(default_factory=dict)
    caught_up_s: Mapping[str, float] = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """Every figure under one dotted name."""
        figures: dict[str, float] = {
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "tasks_per_s": self.tasks_per_s,
            "saturated_p50_ms": self.saturated_p50_ms,
            "failed": self.failed,
            "messages_per_task": self.messages_per_task,
            "cpu_us_per_task.total": self._cpu_us_total(),
        }
        figures |= {f"cpu_us_per_task.{name}": value for name, value in self.cpu_us_per_task.items()}
        figures |= {f"lag_events.{name}": value for name, value in self.lag_events.items()}
        return figures | {f"caught_up_s.{name}": value for name, value in self.caught_up_s.items()}

    def _cpu_us_total(self) -> float:
        return sum(value for name, value in self.cpu_us_per_task.items() if name != CLIENT)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters before and after the closed loop."""

    cpu_us: Mapping[str, float]
    messages: int


def round_of(open_loop: Sample, closed_loop: Sample, before: Usage, after: Usage) -> Round:
    """One round without lags."""
    tasks = max(1, len(closed_loop.latencies_ms))
    return Round(
        p50_ms=open_loop.percentile_ms(0.5),
        p99_ms=open_loop.percentile_ms(0.99),
        tasks_per_s=closed_loop.rate,
        saturated_p50_ms=closed_loop.percentile_ms(0.5),
        failed=open_loop.failed + closed_loop.failed,
        messages_per_task=(after.messages - before.messages) / tasks,
        cpu_us_per_task={name: (after.cpu_us[name] - used) / tasks for name, used in before.cpu_us.items()},
    )


class Rounds(NamedTuple):
    """All rounds of one durability mode: the spine alone, the same with the system's hops, and the system."""

    floor: list[Round]
    hops: list[Round]
    system: list[Round]


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the rounds."""

    low: float
    middle: float
    high: float


def spreads(rounds: Sequence[Round]) -> dict[str, Spread]:
    """Minimum, median and maximum of each figure."""
    columns = [one.flat() for one in rounds]
    found = {}
    for name in columns[0]:
        values = [column[name] for column in columns]
        found[name] = Spread(min(values), median(values), max(values))
    return found


def ratios(system: Sequence[Round], floor: Sequence[Round]) -> dict[str, float]:
    """System over floor, the median of the ratios within each round."""
    pairs = [(one.flat(), other.flat()) for one, other in zip(system, floor, strict=True)]
    names = ("p50_ms", "p99_ms", "tasks_per_s", "messages_per_task", "cpu_us_per_task.total")
    return {name: median(one[name] / other[name] for one, other in pairs if other[name]) for name in names}
