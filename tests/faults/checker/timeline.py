"""The shortest story of a finding: what the client, the log, Kafka and the ledger hold about it, in time."""

import hashlib
from collections.abc import Iterator

from checker.history import History, Task, TaskRow, UsageRow
from checker.verdict import Finding

Step = tuple[float, int, str]


def timeline(history: History, finding: Finding) -> tuple[str, ...]:
    """One line a step. The steps of the finding's task, else of its sequences, and the nemesis among them."""
    entries = list(history.lives.get(finding.task, ())) if finding.task else []
    entries = entries or [history.by_sequence[s] for s in finding.sequences if s in history.by_sequence]
    sequences = {entry.sequence for entry in entries} | set(finding.sequences)
    refs = {str(entry.body.get("metadata", {}).get("ref")) for entry in entries if entry.event == "accepted"}
    steps: list[Step] = [(e.at_ms, 1, f"log {e.sequence} {e.subject}") for e in entries]
    steps += _submissions(history, finding.task, refs)
    steps += _readings(history, finding.task)
    steps += _projected(history, finding.task, sequences)
    steps += _nemesis(history, [at_ms for at_ms, _, _ in steps if at_ms != float("inf")])
    return tuple(f"{_clock(history, at_ms)} {text}" for at_ms, _, text in sorted(steps))


def _submissions(history: History, task: Task | None, refs: set[str]) -> Iterator[Step]:
    for submission in history.submissions:
        if submission.ref in refs or (task is not None and submission.task_id == task.task_id):
            text = f"client {submission.ref} {submission.kind} {submission.task_id} {submission.detail}"
            yield (submission.at_ms, 0, f"{text.rstrip()} {_shown(submission.body)}".rstrip())


def _readings(history: History, task: Task | None) -> Iterator[Step]:
    for reading in history.readings:
        if task is not None and reading.task_id == task.task_id:
            text = f"client of {reading.tenant_id} {reading.how} {reading.status} {list(reading.sequences) or ''}"
            yield (reading.at_ms, 0, f"{text.rstrip()} {_shown(reading.body)}".rstrip())


def _shown(body: bytes) -> str:
    """A body by its digest, which is enough to see that two differ."""
    return f"result sha256:{hashlib.sha256(body).hexdigest()[:12]}" if body else ""


def _projected(history: History, task: Task | None, sequences: set[int]) -> Iterator[Step]:
    """Kafka records and rows carry no time of their own writing: they come last, by place."""
    for record in history.kafka:
        if record.sequence in sequences:
            place = f"kafka {record.topic} {record.partition}@{record.offset}"
            yield (float("inf"), 2, f"{place} event {record.sequence} key {record.key}")
    rows: list[TaskRow | UsageRow] = [*history.tasks, *history.usage]
    for row in rows:
        if task is not None and (row.tenant_id, row.task_id) == task:
            yield (float("inf"), 3, f"ledger {row}")


def _nemesis(history: History, times: list[float]) -> Iterator[Step]:
    """What was broken within two seconds of the story."""
    if times:
        first, last = min(times) - 2000, max(times) + 2000
        yield from ((n.at_ms, 0, f"nemesis {n.what}") for n in history.nemesis if first <= n.at_ms <= last)


def _clock(history: History, at_ms: float) -> str:
    if at_ms == float("inf"):
        return "   at rest"
    zero_ms = min((entry.at_ms for entry in history.log), default=int(at_ms))
    return f"{(at_ms - zero_ms) / 1000:+9.3f}s"
