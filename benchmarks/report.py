"""Figures as text for a person, or as JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Round, Rounds, Spread, ratios, spreads
from benchmarks.workload import Plan, Sync

LABELS: Mapping[str, str] = {
    "p50_ms": "latency p50 at {rate:g}/s, ms",
    "p99_ms": "latency p99 at {rate:g}/s, ms",
    "tasks_per_s": "tasks/s, {tasks_open} open",
    "saturated_p50_ms": "latency p50, {tasks_open} open, ms",
    "failed": "tasks failed",
    "messages_per_task": "NATS messages a task",
    "cpu_us_per_task.total": "CPU a task without the load generator, us",
}


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cores": os.cpu_count(), "cpu": models[0] if models else "?", "load_average": os.getloadavg()[0]}


def text(mode: Sync, plan: Plan, found: Rounds) -> str:
    """One table: floor, the floor with the system's hops, system, each as the median with minimum and maximum.

    The last two columns are the ratio of the system to either.
    """
    title = "every append fsynced" if mode == "always" else "page-cache mode"
    columns = [spreads(rounds) if rounds else {} for rounds in found]
    times = [ratios(found.system, floor) if found.system else {} for floor in (found.floor, found.hops)]
    heads = "".join(f"{head:>24}" for head in ("floor", "with hops", "system"))
    rows = [f"{title}, {len(found.floor)} round(s)", f"{'':44}{heads}{'/floor':>9}{'/hops':>9}"]
    for name in dict.fromkeys(name for column in columns for name in column):
        label = LABELS.get(name, name.replace("_", " ").replace(".", ": ")).format(
            rate=plan.rate, tasks_open=plan.tasks_open
        )
        shown = "".join(f"{_shown(column.get(name)):>24}" for column in columns)
        ratio = "".join(f"{one[name]:8.2f}x" if name in one else " " * 9 for one in times)
        rows.append(f"{label:44}{shown}{ratio}".rstrip())
    return "\n".join(rows)


def as_json(plan: Plan, found: Mapping[Sync, Rounds]) -> str:
    """Everything, with [minimum, median, maximum] for each figure; `ratios` are of the system to the floor."""
    modes = {
        mode: {
            "floor": _numbers(rounds.floor),
            "hops": _numbers(rounds.hops),
            "system": _numbers(rounds.system) if rounds.system else None,
            "ratios": ratios(rounds.system, rounds.floor) if rounds.system else None,
            "ratios_to_hops": ratios(rounds.system, rounds.hops) if rounds.system else None,
        }
        for mode, rounds in found.items()
    }
    shown = {"rate": plan.rate, "tasks_open": plan.tasks_open, "rounds": plan.rounds}
    return json.dumps({"machine": machine(), "plan": shown, "modes": modes}, indent=2)


def _numbers(rounds: Sequence[Round]) -> dict[str, list[float]]:
    return {name: [spread.low, spread.middle, spread.high] for name, spread in spreads(rounds).items()}


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return ""
    middle = _number(spread.middle)
    return middle if spread.low == spread.high else f"{middle} ({_number(spread.low)}-{_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"
