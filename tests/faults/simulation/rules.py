"""What only a simulation sees: every answer that a client was given, held against the log."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from checker.history import History, LogEntry, Task
from checker.verdict import Finding
from simulation.clients import Answer

STATUS = {"completed": "OK", "failed": "ERROR", "denied": "ERROR", "timeout": "TIMEOUT", "cancelled": "CANCELED"}
TRUSTED_TO_LOSE = 5
"""Executors, for one attempt."""
ENOUGH_MS = 15_000
"""A router's `ack_wait_s`, after which a lost delivery comes again, and the work of any task here."""


def check_answers(history: History, answers: Sequence[Answer]) -> Iterator[Finding]:
    """A terminal answer is the task's end in the log, and the same bytes for everybody."""
    first: dict[Task, Answer] = {}
    for answer in answers:
        task = Task(answer.tenant, answer.task_id)
        end = next((entry for entry in history.lives.get(task, ()) if entry.event == "ended"), None)
        told = json.loads(answer.body)
        if end is None:
            yield Finding("answer_without_end", f"{answer.verb} of {task.task_id} said {told.get('status')}", task)
            continue
        for field, value in (("status", STATUS[end.body["outcome"]]), ("result", end.body["result"])):
            if told.get(field) != value:
                message = f"{answer.verb} of {task.task_id} said {field} {told.get(field)!r}, the log {value!r}"
                yield Finding("answer_differs", message, task, (end.sequence,))
        if first.setdefault(task, answer).body != answer.body:
            yield Finding("replay_differs", f"{answer.verb} of {task.task_id} gave other bytes than before", task)


def check_references(history: History) -> Iterator[Finding]:
    """Who was told that a task is theirs meets their own reference in it."""
    refs = {
        task.task_id: life[0].body.get("metadata", {}).get("ref")
        for task, life in history.lives.items()
        if life[0].event == "accepted"
    }
    for submission in history.submissions:
        if submission.kind == "ok" and refs.get(submission.task_id or "", submission.ref) != submission.ref:
            yield Finding("answered_with_another", f"{submission.ref} was given {submission.task_id}, another's task")


def error_code(entry: LogEntry) -> str | None:
    """Why a task ended as it did, None where it ended well."""
    code: str | None = (entry.body.get("error") or {}).get("code")
    return code


def check_poison(history: History, deaths: Sequence[str]) -> Iterator[Finding]:
    """What kills its executor kills few, and only that is ended for it. `deaths` are the texts of who killed."""
    killed = Counter(deaths)
    for text, count in killed.items():
        lives = [(task, life) for task, life in history.lives.items() if life[0].body["params"].get("text") == text]
        attempts = sum(entry.event == "routed" for _, life in lives for entry in life)
        if count > TRUSTED_TO_LOSE * attempts:
            task = lives[0][0] if lives else None
            yield Finding("kills_on", f"{text!r} killed {count} executors in {attempts} attempts", task)
    for task, life in history.lives.items():
        if error_code(life[-1]) == "poison" and life[0].body["params"].get("does") != "kill":
            yield Finding("innocent_given_up", f"{task.task_id} killed nobody and was given up", task)


def check_timeouts(history: History) -> Iterator[Finding]:
    """What had time enough after everything was healed is answered."""
    healed_ms = history.nemesis[-1].at_ms if history.nemesis else 0
    for task, life in history.lives.items():
        deadline_ms = life[0].body.get("brief", {}).get("deadline_ms", 0)
        timed_out = next((entry for entry in life if entry.body.get("outcome") == "timeout"), None)
        if timed_out is None:
            continue
        if deadline_ms > healed_ms + ENOUGH_MS and life[0].body["params"].get("does") != "busy":
            after_ms = deadline_ms - healed_ms
            yield Finding("needless_timeout", f"{task.task_id} had {after_ms} ms after everything was healed", task)
