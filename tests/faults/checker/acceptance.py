"""What the client was told, against the log."""

from collections import defaultdict
from collections.abc import Iterator

from checker.history import History, Submission, Task
from checker.log import SKEW_MS
from checker.verdict import Finding


def check_acceptance(history: History) -> Iterator[Finding]:
    """Accepted means in the log; refused means not in it; nobody else's task is in it; one reference, one task."""
    accepted = {t for t, life in history.lives.items() if any(e.event == "accepted" for e in life)}
    names = {t.task_id for t in accepted}
    answers: dict[str, set[str]] = defaultdict(set)
    for submission in history.submissions:
        if submission.kind != "ok":
            continue
        if submission.task_id is None:
            yield Finding("answer_without_id", f"{submission.ref} was accepted and its answer names no task")
            continue
        answers[submission.ref].add(submission.task_id)
        task = Task(submission.tenant_id or "?", submission.task_id)
        if task not in accepted and (submission.tenant_id or submission.task_id not in names):
            message = f"{submission.task_id} was accepted for the client and the log holds no acceptance"
            yield Finding("task_lost", message, task, absent_from="log")
        yield from _told_too_early(history, task, submission)
    for ref, ids in answers.items():
        if len(ids) > 1:
            yield Finding("one_reference_two_tasks", f"{ref} was answered with {sorted(ids)}")
    yield from _against_references(history)


def check_times(history: History) -> Iterator[Finding]:
    """A task has the time that its client asked for, from a moment between the first attempt and its acceptance."""
    asked: dict[tuple[str, str], list[Submission]] = defaultdict(list)
    for submission in history.submissions:
        if submission.timeout_ms:
            asked[submission.ref, submission.variant].append(submission)
    for task, life in history.lives.items():
        first = life[0]
        metadata, deadline_ms = first.body.get("metadata", {}), first.body.get("brief", {}).get("deadline_ms")
        attempts = asked.get((str(metadata.get("ref", "")), str(metadata.get("variant", ""))))
        if first.event != "accepted" or not attempts or deadline_ms is None:
            continue
        earliest_ms = min(attempt.at_ms + attempt.timeout_ms for attempt in attempts) - history.clock_ms
        latest_ms = first.at_ms + max(attempt.timeout_ms for attempt in attempts) + history.clock_ms
        if not earliest_ms <= deadline_ms <= latest_ms:
            message = (
                f"{task.task_id} is due at {deadline_ms}, and by what its client asked {earliest_ms} to {latest_ms}"
            )
            yield Finding("wrong_deadline", message, task)


def _told_too_early(history: History, task: Task, submission: Submission) -> Iterator[Finding]:
    """What is said was stored before it was said."""
    if not submission.answered_ms:
        return
    for entry in history.lives.get(task, ()):
        told = entry.event == "accepted" or (entry.event == "ended" and submission.body)
        early_ms = entry.at_ms - submission.answered_ms
        if told and early_ms > SKEW_MS:
            message = f"{task.task_id}: its client heard of {entry.event} {early_ms} ms before it was stored"
            yield Finding("told_too_early", message, task)


def _against_references(history: History) -> Iterator[Finding]:
    """The clients put their reference into the task's metadata, so that the log can be asked by it."""
    stored: dict[str, list[Task]] = defaultdict(list)
    stored_ms: dict[str, int] = {}
    for task, life in history.lives.items():
        for entry in life:
            if entry.event == "accepted":
                ref = str(entry.body.get("metadata", {}).get("ref", ""))
                stored[ref].append(task)
                stored_ms.setdefault(ref, entry.at_ms)
    kinds: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, str] = {}
    asked_ms: dict[str, int] = {}
    for submission in history.submissions:
        kinds[submission.ref].add(submission.kind)
        owners[submission.ref] = submission.tenant_id
        if submission.kind != "fail":
            asked_ms[submission.ref] = min(submission.at_ms, asked_ms.get(submission.ref, submission.at_ms))
    for ref, tasks in stored.items():
        if len(set(tasks)) > 1:
            message = f"{ref} is {len(set(tasks))} tasks in the log: {sorted({t.task_id for t in tasks})}"
            yield Finding("one_reference_two_tasks", message, tasks[0])
        if owners.get(ref) and owners[ref] != tasks[0].tenant_id:
            message = f"{ref} was handed in by {owners[ref]} and is a task of {tasks[0].tenant_id}"
            yield Finding("tenant_swapped", message, tasks[0])
        if ref not in kinds:
            yield Finding("unasked_task", f"nobody submitted {tasks[0].task_id} (reference {ref!r})", tasks[0])
        elif kinds[ref] == {"fail"}:
            yield Finding("refused_task_exists", f"{ref} was refused every time and is in the log", tasks[0])
        elif stored_ms[ref] < asked_ms[ref] - SKEW_MS:
            early_ms = asked_ms[ref] - stored_ms[ref]
            message = f"{ref} was in the log {early_ms} ms before the first attempt at it that was not refused"
            yield Finding("refused_task_exists", message, tasks[0])
