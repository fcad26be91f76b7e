"""What a run says of itself: for a person, and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from checker.verdict import Verdict
from prove.memory import Memory
from prove.schedule import Fault

MOST_ERRORS = 0.01
FEW = 5
"""Of one kind of operation: fewer than this say nothing about it."""
MOST_UNANSWERED = 0.01
"""Of the tasks that had ample time and that nobody cancelled, how many may end in any other way than well."""
PROOFS: Mapping[str, str] = {
    "sigkill_exits": "an actor ended by SIGKILL",
    "server_sigkill_exits": "a server ended by SIGKILL",
    "drained_exits": "an actor was drained under load and ended with 0",
    "sigstop_seen_as_T": "an actor was seen stopped",
    "server_sigstop_seen_as_T": "a server was seen stopped",
    "cut_connections": "a connection was cut",
    "reset_connections": "a connection was reset",
    "delayed_bytes": "bytes came late",
    "held_up_bytes": "bytes were held on their way to a server",
    "held_down_bytes": "bytes were held on their way from a server",
    "end_txn_delayed": "an EndTxn came late",
    "taken_over_exits": "a Kafka bridge was fenced by another and ended",
    "zombie_bridges_fenced": "a Kafka bridge was stopped, resumed and fenced",
    "clock_corrected": "an actor's own clock was wrong, and it went by the server's",
    "replays": "a re-submission was answered as a replay",
}
"""Each fault kind by the counter that proves it; a run in which one stayed at zero has proven nothing of it."""


@dataclass(frozen=True)
class Report:
    """Everything that was found. `failures` is empty when all of it is as promised."""

    seed: int
    faults: Sequence[Fault]
    counts: Counter[str]
    memory: Memory
    verdict: Verdict
    figures: Mapping[str, float]
    notes: Sequence[str]
    """Findings that are neither the checker's nor a client's: a failed actor, a child that outlived its parent."""
    demand_proofs: bool = True

    @property
    def visible(self) -> float:
        """The share of operations that clients gave up on, after all documented retries."""
        return len(self.memory.given_up) / max(1, len(self.memory.operations))

    @property
    def raw(self) -> float:
        """The share of single attempts that settled nothing."""
        return self.memory.troubles.total() / max(1, self.memory.attempts)

    @property
    def failures(self) -> list[str]:
        """Why this run did not prove what it should."""
        found = [] if self.verdict.outcome == "valid" else [f"the checker says {self.verdict.outcome}"]
        if self.visible > MOST_ERRORS:
            found.append(f"{self.visible:.2%} of operations failed for their clients, over {MOST_ERRORS:.0%}")
        for what, given_up in Counter(operation.what for operation in self.memory.given_up).items():
            asked = sum(operation.what == what for operation in self.memory.operations)
            if given_up >= FEW and given_up > MOST_ERRORS * asked:
                found.append(f"{given_up} of {asked} times {what} failed for its client, over {MOST_ERRORS:.0%}")
        ample, well = self.figures.get("tasks_with_ample_time", 0), self.figures.get("answered_with_ample_time", 0)
        if ample - well > MOST_UNANSWERED * ample:
            found.append(f"of {ample:g} tasks with ample time {ample - well:g} were not answered")
        found += [f"complaint: {text}" for text in sorted(set(self.memory.complaints))[:20]]
        found += self.notes
        if self.demand_proofs:
            found += [f"it never happened that {PROOFS[name]}" for name in PROOFS if not self.counts[name]]
        return found

    def text(self) -> str:
        """The schedule, the counters, the figures and the verdict; the shortest failing stories last."""
        lines = [f"seed {self.seed}: {len(self.faults)} faults"]
        lines += [f"  {fault.at_s:6.1f} s  {fault.text}" for fault in self.faults]
        lines += ["counters", *(f"  {name:28} {self.counts[name]}" for name in sorted(self.counts))]
        lines += ["figures", *(f"  {name:28} {value:g}" for name, value in self._figures().items())]
        lines += ["attempts that settled nothing", *_ranked(self.memory.troubles)]
        lines += ["given up", *_ranked(Counter(f"{o.what}: {o.last}" for o in self.memory.given_up))]
        lines += ["results", *_ranked(self.memory.statuses)]
        lines += [self.verdict.report(), *(f"FAILED: {failure}" for failure in self.failures)]
        return "\n".join([*lines, "FAILED" if self.failures else "PROVEN"])

    def json(self) -> str:
        """The same for programs."""
        return json.dumps(
            {
                "seed": self.seed,
                "schedule": [fault.__dict__ for fault in self.faults],
                "counters": self.counts,
                "figures": self._figures(),
                "troubles": self.memory.troubles,
                "results": self.memory.statuses,
                "verdict": self.verdict.outcome,
                "rules": self.verdict.rules,
                "doubts": list(self.verdict.doubts),
                "stories": [violation._asdict() for violation in self.verdict.stories[:5]],
                "failures": self.failures,
            },
            indent=1,
        )

    def _figures(self) -> dict[str, float]:
        submitted = [operation for operation in self.memory.operations if operation.what == "submit"]
        return {
            **self.figures,
            "operations": len(self.memory.operations),
            "submitted": len(submitted),
            "errors_visible_percent": round(100 * self.visible, 3),
            "errors_raw_percent": round(100 * self.raw, 3),
            "submit_p50_s": round(self.memory.late_s(0.5), 4),
            "submit_p99_s": round(self.memory.late_s(0.99), 3),
        }


def _ranked(counts: Counter[str]) -> list[str]:
    return [f"  {count:6} {name}" for name, count in counts.most_common(20)] or ["  none"]
