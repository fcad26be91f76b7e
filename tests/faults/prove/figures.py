"""What the log says of a run beyond right and wrong: how late, how long silent, how much was excused."""

import itertools
import json
from pathlib import Path

from checker.history import History, LogEntry

AMPLE_MS = 10_000


def describe(history: History) -> dict[str, float]:
    """Figures of the whole run; times in seconds."""
    lives = [life for life in history.lives.values() if life[0].event == "accepted" and life[-1].event == "ended"]
    late_ms = [life[-1].at_ms - _deadline_ms(life[0]) for life in lives]
    wanted = [life for life in lives if life[-1].body.get("outcome") != "cancelled"]
    ample = [life for life in wanted if _deadline_ms(life[0]) - life[0].at_ms >= AMPLE_MS - 1000]
    ends = sorted(life[-1].at_ms for life in lives)
    return {
        "events": history.end,
        "tasks": len(history.lives),
        "latest_end_after_deadline_s": max(late_ms, default=0) / 1000,
        "ends_excused_by_an_outage": sum(late > history.grace_ms for late in late_ms),
        "outages_s": sum(outage.until_ms - outage.from_ms for outage in history.outages) / 1000,
        "timeouts_with_ample_time": sum(life[-1].body.get("outcome") == "timeout" for life in ample),
        "answered_with_ample_time": sum(life[-1].body.get("outcome") == "completed" for life in ample),
        "tasks_with_ample_time": len(ample),
        "longest_silence_s": max((b - a for a, b in itertools.pairwise(ends)), default=0) / 1000,
        "routed_again": sum(sum(e.event == "routed" for e in life) > 1 for life in lives),
    }


def _deadline_ms(accepted: LogEntry) -> int:
    return int(accepted.body["brief"]["deadline_ms"])


def write_log(history: History, path: Path) -> None:
    """The log and the faults in it, one JSON a line, for who looks into a run."""
    lines = [(entry.at_ms, entry._asdict()) for entry in history.log]
    lines += [(fault.at_ms, {"at_ms": fault.at_ms, "nemesis": fault.what}) for fault in history.nemesis]
    lines += [(s.at_ms, {**s._asdict(), "body": s.body.decode()}) for s in history.submissions]
    path.write_text("".join(json.dumps(value) + "\n" for _, value in sorted(lines, key=lambda line: line[0])))
