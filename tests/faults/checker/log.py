"""The log against its own promises: the state machine of each task, one end, in time, no hole."""

from collections import Counter
from collections.abc import Iterator, Sequence

from checker.history import History, LogEntry, Task
from checker.verdict import Finding

FOLLOWS: dict[str | None, frozenset[str]] = {
    None: frozenset({"accepted"}),
    "accepted": frozenset({"routed", "ended"}),
    "routed": frozenset({"started", "attempt_failed", "ended"}),
    "started": frozenset({"attempt_failed", "ended"}),
    "attempt_failed": frozenset({"routed", "ended"}),
    "ended": frozenset(),
}

SKEW_MS = 5
"""Between two readings of the machine's one clock."""


def check_log(history: History) -> Iterator[Finding]:
    """Every task's life, then the sequence itself."""
    for task, life in history.lives.items():
        yield from _life(task, life, history)
    yield from _sequence(history)


def _life(task: Task, life: Sequence[LogEntry], history: History) -> Iterator[Finding]:
    ends = [entry for entry in life if entry.event == "ended"]
    if life[0].event == "accepted" and not ends:
        message = f"{task.task_id} was accepted and never ended; its last event is {life[-1].event}"
        yield Finding("never_ended", message, task, absent_from="log")
    if not any(entry.event == "accepted" for entry in life):
        message = f"{task.task_id} has {life[0].event} and was never accepted"
        yield Finding("without_acceptance", message, task, absent_from="log")
    if len(ends) > 1:
        yield Finding("second_end", f"{task.task_id} ended {len(ends)} times", task)
    yield from _steps(task, life)
    if ends:
        yield from _in_time(task, life, ends[0], history)
        if ends[0].body.get("outcome") == "cancelled" and task not in history.cancels:
            yield Finding("unasked_cancel", f"{task.task_id} ended as cancelled and nobody asked for that", task)
        yield from _billed(task, life, ends[0])


def _steps(task: Task, life: Sequence[LogEntry]) -> Iterator[Finding]:
    previous: str | None = None
    for entry in life:
        if entry.body.get("event") != entry.event:
            message = f"{task.task_id}: {entry.body.get('event')} is stored under {entry.subject}"
            yield Finding("subject_mismatch", message, task)
        claimed = (entry.body.get("tenant_id", task.tenant_id), entry.body.get("task_id", task.task_id))
        if claimed != task:
            message = f"event {entry.sequence} says it is of {claimed} and is stored under {entry.subject}"
            yield Finding("tenant_swapped", message, task)
        if previous == "ended":
            yield Finding("event_after_end", f"{task.task_id} has {entry.event} after its end", task)
        elif entry.event not in FOLLOWS.get(previous, frozenset()):
            yield Finding("illegal_transition", f"{task.task_id} has {entry.event} after {previous}", task)
        previous = entry.event


def _in_time(task: Task, life: Sequence[LogEntry], end: LogEntry, history: History) -> Iterator[Finding]:
    deadline_ms = life[0].body.get("brief", {}).get("deadline_ms")
    if deadline_ms is None:
        if life[0].event == "accepted":
            yield Finding("no_deadline", f"{task.task_id} was accepted without a deadline", task)
        return
    if end.body.get("outcome") == "timeout" and end.at_ms < deadline_ms - history.clock_ms:
        yield Finding("early_timeout", f"{task.task_id} ended {deadline_ms - end.at_ms} ms early, for its time", task)
    begin_ms = max(deadline_ms, life[0].at_ms)  # an edge that stood still may have stored it past its deadline
    if end.at_ms > history.due_ms(begin_ms):
        late_ms = end.at_ms - begin_ms
        message = f"{task.task_id} ended {late_ms} ms after its deadline, over {history.grace_ms}"
        yield Finding("late_end", message, task)


def _billed(task: Task, life: Sequence[LogEntry], end: LogEntry) -> Iterator[Finding]:
    """Whoever ends a task bills what its failed attempts have cost, and its own cost besides."""
    attempts = sum(int(entry.body.get("cost_nanousd", 0)) for entry in life if entry.event == "attempt_failed")
    billed = int(end.body.get("usage", {}).get("cost_nanousd", 0))
    if billed < attempts:
        message = f"{task.task_id} is billed {billed} nano-dollars, and its failed attempts have cost {attempts}"
        yield Finding("attempts_not_billed", message, task)


def _sequence(history: History) -> Iterator[Finding]:
    counts = Counter(entry.sequence for entry in history.log)
    for sequence in range(history.begin + 1, history.end + 1):
        if sequence not in counts:
            message = f"sequence {sequence} is missing in the log"
            yield Finding("log_gap", message, None, (sequence - 1, sequence + 1), absent_from="log")
    for sequence, count in counts.items():
        if count > 1 or not history.begin < sequence <= history.end:
            message = f"sequence {sequence} was read {count} times, of {history.begin + 1}..{history.end}"
            yield Finding("log_unreadable", message, None, (sequence,))
