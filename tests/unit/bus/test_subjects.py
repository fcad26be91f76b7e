from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import subjects
from bus.matching import matches
from schemas.errors import InvalidRequest
from schemas.events import LogEvent
from schemas.ids import TaskId, TenantId
from schemas.message import changed
from schemas.task import Priority

TENANT, TASK = TenantId("acme"), TaskId("t-1")
ids = st.text(alphabet="abcXYZ019_-", min_size=1, max_size=64)


def test_every_event_has_its_subject(every_event: dict[str, LogEvent]) -> None:
    assert {kind: subjects.of_event(event) for kind, event in every_event.items()} == {
        "accepted": "aion.task.accepted.high.acme.t-1",
        "routed": "aion.task.routed.wasm-high.acme.t-1",
        "started": "aion.task.started.openai-low.acme.t-1",
        "attempt_failed": "aion.task.attempt_failed.high.acme.t-1",
        "ended": "aion.task.ended.completed.acme.t-1",
        "audit": f"aion.audit.acme.login.{every_event['audit'].event_id}",
    }


@pytest.mark.parametrize("kind", ["accepted", "ended", "audit"])
@pytest.mark.parametrize("bad", ["*", "a.b", ">", ""])
def test_no_event_is_stored_under_another_tenant(every_event: dict[str, LogEvent], kind: str, bad: str) -> None:
    with pytest.raises(InvalidRequest):
        subjects.of_event(changed(every_event[kind], tenant_id=bad))


def test_the_log_holds_every_event_and_nothing_else(every_event: dict[str, LogEvent]) -> None:
    def logged(subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in subjects.LOG_SUBJECTS)

    assert all(logged(subjects.of_event(event)) for event in every_event.values())
    outside = [subjects.tokens_of_task(TENANT, TASK), subjects.question("ledger", "get"), subjects.drain("edge")]
    assert not any(logged(subject) for subject in [*outside, subjects.cancel(TENANT, TASK)])


def test_the_filter_of_a_task_takes_all_its_events_and_no_audit(every_event: dict[str, LogEvent]) -> None:
    pattern = subjects.of_task(TENANT, TASK)
    taken = {kind for kind, event in every_event.items() if matches(pattern, subjects.of_event(event))}
    assert taken == every_event.keys() - {"audit"}


@given(ids, ids, ids, ids)
def test_the_filter_of_a_task_takes_no_other_task(tenant: str, task: str, other_tenant: str, other_task: str) -> None:
    subject = f"aion.task.ended.completed.{other_tenant}.{other_task}"
    same = (tenant, task) == (other_tenant, other_task)
    assert matches(subjects.of_task(TenantId(tenant), TaskId(task)), subject) == same


def test_the_live_feed_of_one_task_and_of_one_kind_meet() -> None:
    subject = "aion.live.ended.completed.acme.t-1"
    assert matches(subjects.live_of_task(TENANT, TASK), subject)
    assert matches(subjects.live_of_event("ended"), subject)
    assert not matches(subjects.live_of_event("routed"), subject)
    assert not matches(subjects.live_of_task(TENANT, TaskId("t-2")), subject)


def test_a_cancel_reaches_those_who_listen_to_all_cancels() -> None:
    assert matches(subjects.CANCEL_ALL, subjects.cancel(TENANT, TASK))
    assert not matches(subjects.CANCEL_ALL, subjects.drain("router"))


@pytest.mark.parametrize(
    "build",
    [subjects.of_task, subjects.live_of_task, subjects.tokens_of_task, subjects.cancel],
    ids=lambda build: build.__name__,
)
@pytest.mark.parametrize("bad", ["*", ">", "a.b", "", " ", "a\n", "ü", "x" * 65])
def test_no_id_can_widen_a_subject(build: Callable[[TenantId, TaskId], str], bad: str) -> None:
    with pytest.raises(InvalidRequest):
        build(TenantId(bad), TASK)
    with pytest.raises(InvalidRequest):
        build(TENANT, TaskId(bad))


@pytest.mark.parametrize("priority", list(Priority))
def test_each_lane_is_answered_by_its_own_cursor(priority: Priority) -> None:
    cursors = {
        f"aion.task.accepted.{priority}.acme.t": subjects.accepted(priority),
        f"aion.task.attempt_failed.{priority}.acme.t": subjects.attempt_failed(priority),
        f"aion.task.routed.wasm-{priority}.acme.t": subjects.routed("wasm", priority),
        f"aion.task.routed.vllm-{priority}.acme.t": subjects.routed("vllm", priority),
    }
    for subject in cursors:
        assert [own for own, cursor in cursors.items() if matches(cursor.filter, subject)] == [subject]


def test_cursors_have_names_of_their_own() -> None:
    engines = [subjects.routed(engine, priority) for engine in ("wasm", "vllm") for priority in Priority]
    routers = [make(priority) for make in (subjects.accepted, subjects.attempt_failed) for priority in Priority]
    names = [cursor.name for cursor in [*engines, *routers]]
    assert len(set(names)) == len(names) == 12


def test_an_engines_cap_is_its_cursors_bound() -> None:
    cursor = subjects.routed("wasm", Priority.LOW, cap=7, ack_wait_s=2.5)
    assert (cursor.name, cursor.max_ack_pending, cursor.ack_wait_s) == ("routed-wasm-low", 7, 2.5)


def test_an_engine_that_is_no_token_has_no_cursor() -> None:
    with pytest.raises(InvalidRequest):
        subjects.routed("*", Priority.LOW)
