from typing import Any

import pytest

from actors.sweeper.open_tasks import OpenTasks
from bus.port import Entry
from bus.subjects import of_event
from schemas.events import Accepted, AttemptFailed, AuditEvent, Brief, Ended, LogEvent, Outcome, Routed
from schemas.ids import EventId, TaskId, TenantId
from schemas.message import Unreadable, changed, encode
from schemas.result import Engine, TaskError, Usage
from schemas.task import Priority, Privacy

WASM = Engine(route="local", chosen_by="ai-router", reason="only_eligible: wasm")


def common(task: str) -> dict[str, Any]:
    return {"event_id": EventId(f"e-{task}"), "tenant_id": TenantId("acme"), "task_id": TaskId(task), "at_ms": 0}


def brief(deadline_ms: int) -> Brief:
    return Brief(
        intent="summarize",
        priority=Priority.NORMAL,
        privacy=Privacy.LOCAL_ONLY,
        accepted_at_ms=0,
        deadline_ms=deadline_ms,
    )


def accepted(task: str, deadline_ms: int) -> Accepted:
    return Accepted(**common(task), brief=brief(deadline_ms), params={}, fingerprint="f")


def routed(task: str, deadline_ms: int) -> Routed:
    return Routed(**common(task), brief=brief(deadline_ms), params={}, engine="wasm", decision=WASM)


def attempt_failed(task: str, deadline_ms: int, **money: int) -> AttemptFailed:
    error = TaskError(code="module_error", message="trap")
    said: dict[str, Any] = {"params": {}, "engine": "wasm", "fallbacks": (), "attempt": 1, "error": error, **money}
    return AttemptFailed(**common(task), brief=brief(deadline_ms), **said)


def ended(task: str) -> Ended:
    usage = Usage(latency_ms=1)
    return Ended(**common(task), outcome=Outcome.COMPLETED, intent="summarize", engine=WASM, usage=usage)


def stored(event: LogEvent, sequence: int) -> Entry:
    return Entry(sequence, 0, of_event(event), encode(event))


def test_only_open_tasks_past_their_deadline_are_overdue_oldest_first() -> None:
    tasks = OpenTasks()
    for number, (name, deadline) in enumerate([("late", 200), ("later", 100), ("young", 900), ("gone", 50)], start=1):
        tasks.apply(stored(accepted(name, deadline), number))
    tasks.apply(stored(ended("gone"), 5))
    assert [task.task_id for task in tasks.overdue(300, 10)] == ["later", "late"]
    assert len(tasks) == 3


def test_a_task_is_handed_out_once_unless_it_is_handed_back() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("a", 10), 1))
    (task,) = tasks.overdue(20, 10)
    assert tasks.overdue(20, 10) == []
    tasks.again(task)
    assert tasks.overdue(20, 10) == [task]


def test_what_ended_meanwhile_is_not_handed_out_again() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("a", 10), 1))
    (task,) = tasks.overdue(20, 10)
    tasks.apply(stored(ended("a"), 2))
    tasks.again(task)
    assert tasks.overdue(20, 10) == []
    assert len(tasks) == 0


def test_the_lease_moves_with_each_event_and_the_decision_is_kept() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("a", 10), 1))
    tasks.apply(stored(routed("a", 10), 7))
    (task,) = tasks.overdue(20, 10)
    assert (task.sequence, task.engine, task.engine_name) == (7, WASM, "wasm")


def test_a_burst_is_bounded() -> None:
    tasks = OpenTasks()
    for number in range(10):
        tasks.apply(stored(accepted(f"t{number}", number), number + 1))
    assert len(tasks.overdue(100, 4)) == 4
    assert len(tasks.overdue(100, 40)) == 6


def test_events_of_a_task_accepted_before_the_window_are_ignored() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(routed("old", 10), 3))
    tasks.apply(stored(ended("old"), 4))
    assert tasks.overdue(100, 10) == []


def test_an_audit_event_is_no_task() -> None:
    tasks = OpenTasks()
    audit = AuditEvent(
        event_id=EventId("e"), tenant_id=TenantId("acme"), kind="key", at_ms=0, actor="ops", subject="k", detail={}
    )
    tasks.apply(stored(audit, 1))
    assert len(tasks) == 0


def test_a_task_is_still_ended_after_an_event_that_cannot_be_read() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("a", 10), 1))
    with pytest.raises(Unreadable):
        tasks.apply(Entry(2, 0, of_event(routed("a", 10)), b"broken"))
    (task,) = tasks.overdue(20, 10)
    assert task.sequence == 2


def test_a_task_that_ended_long_before_its_deadline_costs_nothing_any_more() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("open", 900_000), 1))
    for number in range(10_000):
        tasks.apply(stored(accepted(f"t{number}", 1_000_000), 2 * number + 2))
        tasks.apply(stored(ended(f"t{number}"), 2 * number + 3))
    assert len(tasks._due) < 2000
    assert [task.task_id for task in tasks.overdue(1_000_001, 10)] == ["open"]


def test_an_overdue_task_bills_what_its_failed_attempts_cost() -> None:
    tasks = OpenTasks()
    tasks.apply(stored(accepted("t", 100), 1))
    tasks.apply(stored(routed("t", 100), 2))
    tasks.apply(stored(attempt_failed("t", 100, cost_nanousd=5), 3))
    assert [task.spent_nanousd for task in tasks.overdue(200, 1)] == [5]
    tasks.apply(stored(changed(routed("t", 100), spent_nanousd=5), 4))
    tasks.apply(stored(attempt_failed("t", 100, cost_nanousd=7, spent_nanousd=5), 5))
    tasks.again(tasks._open[TenantId("acme"), TaskId("t")])
    assert [task.spent_nanousd for task in tasks.overdue(200, 1)] == [12]
