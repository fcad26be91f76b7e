"""What a soak found: a table for a person, or JSON with every point."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from benchmarks import report
from benchmarks.soak.judge import Kind, Trend
from benchmarks.soak.run import Soaked

TITLES: Mapping[Kind, str] = {
    "rss": "resident memory, MiB",
    "fds": "open file descriptors",
    "threads": "threads",
    "messages": "messages of a stream",
    "kib": "KiB of a stream",
    "pending": "not yet answered, by consumer",
    "lag": "events a projection lacks",
}


def text(found: Soaked) -> str:
    """One block a kind of figure, then the load, the logs and the judgement."""
    order, load = found.order, found.load
    mode = "fsync" if order.sync == "always" else "page-cache"
    rates = f"{found.rate:,.0f} tasks/s, saturation {found.saturation:,.0f}"
    lines = [f"{order.minutes:g} minutes at {rates}; log window {order.keep_s:g} s, {mode} mode"]
    for kind, title in TITLES.items():
        lines += _block(title, (trend for trend in found.trends if trend.kind == kind))
    lines += ["", f"tasks: {len(load.latencies_ms):,} ended well, {load.failed} failed; latency "]
    lines[-1] += ", ".join(f"p{share * 100:g} {load.percentile_ms(share):.1f} ms" for share in (0.5, 0.99, 0.999))
    lines += [f"{name} had caught up {lag.caught_up_s:.2f} s after the load" for name, lag in found.lags.items()]
    lines += [f"logged {count} x {name}" for name, count in found.logs.events.most_common(12)]
    lines += [f"complaint of {line}" for line in found.logs.examples]
    lines += [f"BROKEN: {one}" for one in found.broken] or ["every bound holds"]
    return "\n".join(lines)


def _block(title: str, trends: Iterable[Trend]) -> list[str]:
    head = f"{title:44}{'half-way':>13}{'end':>13}{'most':>13}{'an hour':>11}{'bound':>10}"
    return ["", head, *(_row(trend) for trend in trends)]


def _row(trend: Trend) -> str:
    values = "".join(f"{value:13,.1f}" for value in (trend.first, trend.last, trend.most))
    mark = "  GROWS" if trend.grows else ""
    return f"  {trend.subject:42}{values}{trend.slope:+11,.1f}{trend.bound:10,.0f}{mark}"


def as_json(found: Soaked) -> str:
    """Everything; points are [seconds, value]."""
    load = found.load
    return json.dumps(
        {
            "machine": report.machine(),
            "order": {**asdict(found.order), "keep_s": found.order.keep_s},
            "saturation": found.saturation,
            "rate": found.rate,
            "ended_well": len(load.latencies_ms),
            "failed": load.failed,
            "p50_ms": load.percentile_ms(0.5),
            "p99_ms": load.percentile_ms(0.99),
            "caught_up_s": {name: lag.caught_up_s for name, lag in found.lags.items()},
            "trends": [{**asdict(trend), "grows": trend.grows} for trend in found.trends],
            "series": [asdict(series) for series in found.series],
            "logged": found.logs.events,
            "complaints": found.logs.complaints,
            "broken": found.broken,
        }
    )
