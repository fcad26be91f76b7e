"""The ledger against the log: one row per task, one bill per ended task, to the nano-dollar."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from checker.history import History, LogEntry, Task, TaskRow, UsageRow
from checker.verdict import Finding


def check_ledger(history: History) -> Iterator[Finding]:
    """Every task's rows, then rows of tasks that the log does not know."""
    rows: dict[Task, list[TaskRow]] = defaultdict(list)
    bills: dict[Task, list[UsageRow]] = defaultdict(list)
    for row in history.tasks:
        rows[Task(row.tenant_id, row.task_id)].append(row)
    for bill in history.usage:
        bills[Task(bill.tenant_id, bill.task_id)].append(bill)
    for task, life in history.lives.items():
        yield from _row(task, life, rows[task])
        yield from _bill(task, life, bills[task])
    for task in (rows.keys() | bills.keys()) - history.lives.keys():
        yield Finding("ledger_unasked", f"the ledger knows {task.task_id}, the log does not", task, absent_from="log")


def _row(task: Task, life: Sequence[LogEntry], rows: Sequence[TaskRow]) -> Iterator[Finding]:
    if not rows:
        message = f"{task.task_id} is in the log and has no row in the ledger"
        yield Finding("ledger_missing", message, task, absent_from="ledger")
        return
    if len(rows) > 1:
        yield Finding("ledger_duplicate", f"{task.task_id} has {len(rows)} rows in the ledger", task)
    end = next((entry for entry in life if entry.event == "ended"), None)
    wanted = {
        "state": life[-1].event,
        "outcome": end.body.get("outcome") if end else None,
        "cost_nanousd": _usage(end)["cost_nanousd"] if end else rows[0].cost_nanousd,
        "attempts": sum(entry.event == "routed" for entry in life),
    }
    for field, value in wanted.items():
        found = getattr(rows[0], field)
        if found != value:
            message = f"{task.task_id}: {field} is {found} in the ledger and {value} in the log"
            behind = field in ("state", "attempts")
            yield Finding("ledger_differs", message, task, absent_from="ledger" if behind else None)


def _bill(task: Task, life: Sequence[LogEntry], bills: Sequence[UsageRow]) -> Iterator[Finding]:
    end = next((entry for entry in life if entry.event == "ended"), None)
    if end is None:
        if bills:
            yield Finding("billed_open_task", f"{task.task_id} is billed and has not ended", task, absent_from="log")
        return
    if not bills:
        yield Finding("not_billed", f"{task.task_id} ended and has no usage row", task, absent_from="ledger")
        return
    if len(bills) > 1:
        yield Finding("billed_twice", f"{task.task_id} has {len(bills)} usage rows", task)
    for field, value in _usage(end).items():
        found = getattr(bills[0], field)
        if found != value:
            yield Finding("bill_differs", f"{task.task_id}: {field} is billed as {found} and was {value}", task)


def _usage(end: LogEntry) -> dict[str, Any]:
    usage = end.body.get("usage", {})
    counted = {field: int(usage.get(field, 0)) for field in ("cost_nanousd", "tokens", "latency_ms")}
    return {**counted, "outcome": end.body.get("outcome")}
