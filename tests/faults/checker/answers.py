"""What clients were told of results and of tasks, against the log: the same bytes, the log's result, nothing denied."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from checker.history import History, LogEntry, Submission, Task
from checker.verdict import Finding

STATUS = {"completed": "OK", "failed": "ERROR", "denied": "ERROR", "timeout": "TIMEOUT", "cancelled": "CANCELED"}
NANO = 1_000_000_000


class Told(NamedTuple):
    """One result that a client held in its hands."""

    task: Task
    body: bytes


def check_answers(history: History) -> Iterator[Finding]:
    """Results first, then keys that were used twice, then what was read."""
    tenants = {task.task_id: task.tenant_id for task in history.lives}
    told: dict[Task, set[bytes]] = defaultdict(set)
    for task, body in _told(history, tenants):
        told[task].add(body)
    for task, bodies in told.items():
        if len(bodies) > 1:
            yield Finding("replay_altered", f"{task.task_id} was answered with {len(bodies)} different results", task)
        end = next((entry for entry in history.lives.get(task, ()) if entry.event == "ended"), None)
        for body in sorted(bodies):
            yield from _kept(task, body, end)
    yield from _variants(history)
    yield from _read(history)


def _told(history: History, tenants: Mapping[str, str]) -> Iterator[Told]:
    for submission in history.submissions:
        if submission.body and submission.task_id is not None:
            tenant_id = submission.tenant_id or tenants.get(submission.task_id, "?")
            yield Told(Task(tenant_id, submission.task_id), submission.body)
    for reading in history.readings:
        if reading.body:
            yield Told(Task(reading.tenant_id, reading.task_id), reading.body)


def _kept(task: Task, body: bytes, end: LogEntry | None) -> Iterator[Finding]:
    if end is None:
        message = f"a client holds a result of {task.task_id} and the log holds no end of it"
        yield Finding("result_not_kept", message, task, absent_from="log")
        return
    try:
        shown = json.loads(body)
    except ValueError:
        shown = {}
    for field, value in _wanted(task, end).items():
        if shown.get(field) != value:
            message = f"{task.task_id}: {field} was told as {shown.get(field)!r:.120} and is {value!r:.120} in the log"
            yield Finding("result_differs", message, task)


def _wanted(task: Task, end: LogEntry) -> dict[str, Any]:
    """The canonical result by docs/http.md, from the terminal event; only what the event says."""
    body = end.body
    usage = body.get("usage", {})
    wanted: dict[str, Any] = {"task_id": task.task_id, "status": STATUS.get(str(body.get("outcome")))}
    for field in ("intent", "engine", "result", "error"):
        if field in body:
            wanted[field] = body[field]
    wanted["usage"] = {
        "latency_ms": usage.get("latency_ms", 0),
        "tokens": usage.get("tokens", 0),
        "cost_usd": usage.get("cost_nanousd", 0) / NANO,
    }
    return wanted


def _variants(history: History) -> Iterator[Finding]:
    """Under one key the first stored body counts: the same one is answered, every other one is refused."""
    stored: dict[str, tuple[Task, str]] = {}
    for task, life in history.lives.items():
        metadata = life[0].body.get("metadata", {})
        stored.setdefault(str(metadata.get("ref", "")), (task, str(metadata.get("variant", ""))))
    for submission in history.submissions:
        if submission.ref not in stored:
            continue
        task, variant = stored[submission.ref]
        if submission.kind == "ok" and submission.variant != variant:
            message = f"{submission.ref} holds body {variant!r} and body {submission.variant!r} was accepted under it"
            yield Finding("other_body_accepted", message, task)
        if _says_reused(submission) and submission.variant == variant:
            message = f"{submission.ref} holds body {variant!r} and the same body was refused: {submission.detail}"
            yield Finding("replay_refused", message, task)


def _says_reused(submission: Submission) -> bool:
    return submission.kind == "fail" and submission.detail.startswith(("422", "409"))


def _read(history: History) -> Iterator[Finding]:
    for reading in history.readings:
        task = Task(reading.tenant_id, reading.task_id)
        life = history.lives.get(task, ())
        if reading.status == 404 and life and life[0].at_ms < reading.at_ms:
            yield Finding("task_denied", f"{reading.task_id} was denied to {reading.tenant_id}, whose task it is", task)
        if reading.how != "stream" or not reading.sequences:
            continue
        known = [entry.sequence for entry in life]
        if any(later <= earlier for earlier, later in zip(reading.sequences, reading.sequences[1:], strict=False)):
            message = f"the stream of {reading.task_id} went {list(reading.sequences)}"
            yield Finding("stream_reordered", message, task)
        elif list(reading.sequences) != known:
            message = f"the stream of {reading.task_id} showed {list(reading.sequences)} of {known}"
            yield Finding("stream_gap", message, task, absent_from="log")
