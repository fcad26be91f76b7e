"""The open tasks of the log, by deadline: a state machine without I/O."""

import heapq
from dataclasses import dataclass

from bus.port import Entry
from bus.subjects import task_subject
from schemas.events import UNROUTED, read_accepted_in_brief, read_attempt_failed_in_brief, read_routed_in_brief
from schemas.ids import TaskId, TenantId
from schemas.money import add_nanousd
from schemas.result import Engine


@dataclass(slots=True)
class OpenTask:
    """What is needed to end a task: where it stands, and what its result must say."""

    tenant_id: TenantId
    task_id: TaskId
    intent: str
    accepted_at_ms: int
    deadline_ms: int
    accepted: int
    """The sequence of its first event."""
    sequence: int
    """The sequence of its newest."""
    engine: Engine = UNROUTED
    engine_name: str | None = None
    traceparent: str | None = None
    spent_nanousd: int = 0
    """What its failed attempts have cost."""


_FEW = 1024


class OpenTasks:
    """Feed it every entry in log order; ask which tasks are overdue.

    About 0.5 kB a task. A task whose `accepted` lies before the first event fed is unknown, and so not swept: that is
    where every task has ended (`actors.sweeper.mark`), or the log's window, at least twice the longest deadline.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[TenantId, TaskId], OpenTask] = {}
        self._due: list[tuple[int, TenantId, TaskId]] = []

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def apply(self, entry: Entry) -> None:
        """Move the task on by one stored event: its subject says which, and no more is read than is needed.

        Raises `schemas.message.Unreadable`; the task has moved on even so.
        """
        event = task_subject(entry.subject)
        if event is None:
            return
        key = (event.tenant_id, event.task_id)
        if event.event == "ended":
            self._open.pop(key, None)
            if len(self._due) > 2 * len(self._open) + _FEW:
                self._due = [due for due in self._due if due[1:] in self._open]
                heapq.heapify(self._due)
        elif event.event == "accepted":
            self._accept(key, entry)
        elif key in self._open:
            task = self._open[key]
            task.sequence = entry.sequence
            if event.event == "routed":
                routed = read_routed_in_brief(entry.data)
                task.engine, task.engine_name = routed.decision, routed.engine
                task.spent_nanousd = routed.spent_nanousd
            elif event.event == "attempt_failed":
                failed = read_attempt_failed_in_brief(entry.data)
                task.spent_nanousd = add_nanousd(failed.spent_nanousd, failed.cost_nanousd)

    def _accept(self, key: tuple[TenantId, TaskId], entry: Entry) -> None:
        accepted = read_accepted_in_brief(entry.data)
        brief = accepted.brief
        tenant_id, task_id = key
        self._open[key] = OpenTask(
            tenant_id=tenant_id,
            task_id=task_id,
            intent=brief.intent,
            accepted_at_ms=brief.accepted_at_ms,
            deadline_ms=brief.deadline_ms,
            accepted=entry.sequence,
            sequence=entry.sequence,
            traceparent=accepted.traceparent,
        )
        heapq.heappush(self._due, (brief.deadline_ms, tenant_id, task_id))

    def oldest(self) -> int | None:
        """The sequence of the oldest open task's `accepted`, None when none is open."""
        return next((task.accepted for task in self._open.values()), None)

    def overdue(self, before_ms: int, limit: int) -> list[OpenTask]:
        """At most `limit` open tasks whose deadline is before `before_ms`, each handed out once.

        Who cannot end one hands it back with `again`.
        """
        found: list[OpenTask] = []
        while self._due and self._due[0][0] < before_ms and len(found) < limit:
            _, tenant_id, task_id = heapq.heappop(self._due)
            task = self._open.get((tenant_id, task_id))
            if task is not None:
                found.append(task)
        return found

    def again(self, task: OpenTask) -> None:
        """Hand the task out once more at the next `overdue`, unless it ended meanwhile."""
        if (task.tenant_id, task.task_id) in self._open:
            heapq.heappush(self._due, (task.deadline_ms, task.tenant_id, task.task_id))
