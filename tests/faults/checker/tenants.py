"""No tenant reads, names or is answered with another tenant's anything."""

import json
from collections.abc import Iterator, Mapping

from checker.history import History, Task
from checker.verdict import Finding


def check_tenants(history: History) -> Iterator[Finding]:
    """Tasks that were shown to somebody else, then canaries in a foreign place."""
    for reading in history.readings:
        task = Task(reading.tenant_id, reading.task_id)
        if reading.status == 200 and task not in history.lives:
            message = f"{reading.tenant_id} asked for {reading.task_id}, which it does not have, and was answered"
            yield Finding("foreign_task_shown", message, task, absent_from="log")
    for task, place, text in _texts(history):
        for tenant_id in _strangers(text, task.tenant_id, history.canaries):
            message = f"{place} of {task.tenant_id} holds the canary of {tenant_id}"
            yield Finding("canary_leaked", message, task)


def _texts(history: History) -> Iterator[tuple[Task, str, str]]:
    if not history.canaries:
        return
    for submission in history.submissions:
        if submission.body:
            yield Task(submission.tenant_id, submission.task_id or "?"), "an answer", submission.body.decode()
    for reading in history.readings:
        if reading.body:
            yield Task(reading.tenant_id, reading.task_id), f"a {reading.how}", reading.body.decode()
    for entry in history.log:
        if entry.task is not None:
            yield entry.task, f"event {entry.sequence}", json.dumps(entry.body)


def _strangers(text: str, tenant_id: str, canaries: Mapping[str, str]) -> Iterator[str]:
    yield from (other for other, canary in canaries.items() if other != tenant_id and canary in text)
