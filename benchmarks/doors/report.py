"""What was found, for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.doors.calls import CallFigures
from benchmarks.doors.measure import Figures, Lengths
from benchmarks.doors.streams import StreamFigures


@dataclass(frozen=True, slots=True)
class Found:
    """Medians of each door, the medians of its ratios to the spine, and the two rates of calls and events."""

    lengths: Lengths
    doors: Mapping[str, Figures]
    ratios: Mapping[str, Mapping[str, float]]
    streams: Sequence[StreamFigures]
    calls: Sequence[CallFigures]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "lengths": asdict(self.lengths),
            "doors": {
                name: figures._asdict() | {"over_spine": self.ratios[name]} for name, figures in self.doors.items()
            },
            "streams": [asdict(one) for one in self.streams],
            "calls": [asdict(one) for one in self.calls],
        }


def text(found: Found) -> str:
    """Three tables in Markdown."""
    lengths = found.lengths
    loads = f"latency at {lengths.rate:g}/s, saturation with {lengths.tasks_open} open"
    lines = [
        f"{lengths.rounds} round(s); {loads}; in brackets over the spine",
        "",
        "| door | p50, ms | p99, ms | tasks/s | edge us | client us | client | failed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.doors.items():
        ratio = found.ratios[name]
        lines.append(
            f"| {name} | {one.p50_ms:.2f} ({ratio['p50_ms']:.2f}x) | {one.p99_ms:.1f} ({ratio['p99_ms']:.2f}x) "
            f"| {one.tasks_per_s:,.0f} ({ratio['tasks_per_s']:.2f}x) | {one.edge_cpu_us:.0f} "
            f"| {one.client_cpu_us:.0f} | {one.client_share:.2f} | {one.failed:.0f} |"
        )
    lines += ["", "| SSE streams | events/s | edge us an event | client |", "|---|---|---|---|"]
    lines += [
        f"| {one.streams} | {one.events_per_s:,.0f} | {one.edge_cpu_us_per_event:.0f} | {one.client_share:.2f} |"
        for one in found.streams
    ]
    lines += ["", "| gRPC | calls/s | over the echo | server us a call | failed |", "|---|---|---|---|---|"]
    lines += [
        f"| {one.method} | {one.calls_per_s:,.0f} | {one.calls_per_s / found.calls[0].calls_per_s:.2f}x "
        f"| {one.server_cpu_us:.0f} | {one.failed} |"
        for one in found.calls
    ]
    return "\n".join(lines)
