"""Figures as text for a person, or as JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.figures import Round, Spread, ratios, spreads
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


def text(mode: Sync, plan: Plan, floor: Sequence[Round], system: Sequence[Round]) -> str:
    """One table: floor, system, and their ratio, each as the median with minimum and maximum."""
    title = "every append fsynced" if mode == "always" else "page-cache mode"
    low, high = spreads(floor), spreads(system) if system else {}
    times = ratios(system, floor) if system else {}
    rows = [f"{title}, {len(floor)} round(s)", f"{'':44}{'floor':>24}{'system':>24}{'ratio':>9}"]
    for name in dict.fromkeys([*low, *high]):
        label = LABELS.get(name, name.replace("_", " ").replace(".", ": ")).format(
            rate=plan.rate, tasks_open=plan.tasks_open
        )
        ratio = f"{times[name]:8.2f}x" if name in times else ""
        rows.append(f"{label:44}{_shown(low.get(name)):>24}{_shown(high.get(name)):>24}{ratio:>9}".rstrip())
    return "\n".join(rows)


def as_json(plan: Plan, found: Mapping[Sync, tuple[Sequence[Round], Sequence[Round]]]) -> str:
    """Everything, with [minimum, median, maximum] for each figure."""
    modes = {
        mode: {
            "floor": _numbers(floor),
            "system": _numbers(system) if system else None,
            "ratios": ratios(system, floor) if system else None,
        }
        for mode, (floor, system) in found.items()
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
