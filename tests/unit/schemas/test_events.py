import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import (
    Ended,
    LogEvent,
    Outcome,
    canonical_bytes,
    canonical_result,
    following,
    read_event,
    read_task_event,
)
from schemas.ids import EventId
from schemas.message import Unreadable, changed, encode, plain
from schemas.money import MAX_NANOUSD
from schemas.result import Status, TaskError, Usage

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def test_every_event_comes_back_as_it_was(event: LogEvent) -> None:
    again = read_event(encode(event))
    assert again == event
    assert type(again) is type(event)
    assert encode(again).decode() == encode(event).decode()


@given(params=st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_any_json_params_come_back_as_they_were(params: dict[str, Any], event_of: Callable[[str], Any]) -> None:
    event = changed(event_of("accepted"), params=params)
    assert read_event(encode(event)) == event


def test_an_unknown_field_is_refused(event: LogEvent) -> None:
    body = json.loads(encode(event)) | {"priorty": "high"}
    with pytest.raises(Unreadable, match="priorty"):
        read_event(json.dumps(body).encode())


def test_an_unknown_kind_is_refused(event: LogEvent) -> None:
    body = json.loads(encode(event)) | {"event": "exploded"}
    with pytest.raises(Unreadable):
        read_event(json.dumps(body).encode())


def test_an_event_cannot_be_changed(event: LogEvent) -> None:
    with pytest.raises(AttributeError):
        event.at_ms = 7  # type: ignore[misc]


@pytest.mark.parametrize("bad", ["", "*", "a.b", "a>", "x" * 65, "a\n", "a b"])
@pytest.mark.parametrize("field", ["tenant_id", "task_id"])
def test_an_id_that_could_widen_a_subject_never_enters_an_event(
    event_of: Callable[[str], Any], field: str, bad: str
) -> None:
    body = json.loads(encode(event_of("accepted"))) | {field: bad}
    with pytest.raises(Unreadable):
        read_event(json.dumps(body).encode())


def test_an_audit_event_is_no_task_event(event_of: Callable[[str], Any]) -> None:
    with pytest.raises(Unreadable):
        read_task_event(encode(event_of("audit")))


@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        ("accepted", "high"),
        ("routed", "wasm-high"),
        ("started", "openai-low"),
        ("attempt_failed", "high"),
        ("ended", "completed"),
    ],
)
def test_every_event_knows_its_lane(event_of: Callable[[str], Any], kind: str, lane: str) -> None:
    assert event_of(kind).lane == lane


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.COMPLETED, Status.OK),
        (Outcome.FAILED, Status.ERROR),
        (Outcome.DENIED, Status.ERROR),
        (Outcome.TIMEOUT, Status.TIMEOUT),
        (Outcome.CANCELLED, Status.CANCELED),
    ],
)
def test_every_outcome_has_its_status(event_of: Callable[[str], Any], outcome: Outcome, status: Status) -> None:
    ended = changed(event_of("ended"), outcome=outcome)
    assert canonical_result(ended).status is status


def test_what_follows_an_event_belongs_to_the_same_task_and_trace(event_of: Callable[[str], Any]) -> None:
    before = changed(event_of("accepted"), traceparent="00-trace")
    after = following(before, EventId("e-9"), 77)
    assert (after["tenant_id"], after["task_id"], after["traceparent"]) == ("acme", "t-1", "00-trace")
    assert (after["event_id"], after["at_ms"]) == ("e-9", 77)


def test_no_outcome_is_without_a_status(event_of: Callable[[str], Any]) -> None:
    for outcome in Outcome:
        assert canonical_result(changed(event_of("ended"), outcome=outcome)).status in Status


def test_the_result_says_all_that_the_event_does(event_of: Callable[[str], Any]) -> None:
    assert plain(canonical_result(event_of("ended"))) == {
        "schema_version": "1.0",
        "task_id": "t-1",
        "intent": "summarize",
        "status": "OK",
        "engine": {"route": "local", "chosen_by": "ai-router", "reason": "only engine"},
        "result": {"z": 1, "a": {"y": [3, 2, 1]}},
        "usage": {"latency_ms": 12, "tokens": 7, "cost_usd": 0.001234567},
        "error": None,
    }


def test_an_error_reaches_the_client(event_of: Callable[[str], Any]) -> None:
    error = TaskError(code="module_oom", message="asked for 65 MiB of 64", retryable=False)
    ended = changed(event_of("ended"), outcome=Outcome.FAILED, error=error)
    assert canonical_result(ended).error == error


@given(result=st.dictionaries(st.text(max_size=8), json_values, max_size=5), cost=st.integers(0, 10**15))
def test_the_result_of_a_stored_event_is_byte_for_byte_the_first_one(
    result: dict[str, Any], cost: int, event_of: Callable[[str], Any]
) -> None:
    ended = event_of("ended")
    ended = changed(ended, result=result, usage=changed(ended.usage, cost_nanousd=cost))
    stored = read_event(encode(ended))
    assert isinstance(stored, Ended)
    assert encode(canonical_result(stored)).decode() == encode(canonical_result(ended)).decode()


@given(
    result=st.dictionaries(st.text(max_size=8), json_values | st.integers(), max_size=5),
    cost=st.integers(0, MAX_NANOUSD),
    outcome=st.sampled_from(Outcome),
    error=st.none() | st.builds(TaskError, code=st.text(), message=st.text(), retryable=st.booleans()),
)
def test_the_result_taken_from_the_stored_bytes_is_the_canonical_one(
    result: dict[str, Any], cost: int, outcome: Outcome, error: TaskError | None, event_of: Callable[[str], Any]
) -> None:
    usage = Usage(latency_ms=1, tokens=2, cost_nanousd=cost)
    ended = changed(event_of("ended"), result=result, usage=usage, outcome=outcome, error=error)
    assert canonical_bytes(encode(ended)) == encode(canonical_result(ended))


def test_what_is_not_an_end_has_no_canonical_result(event_of: Callable[[str], Any]) -> None:
    for data in (encode(event_of("accepted")), encode(event_of("ended"))[:-1], b"null"):
        with pytest.raises(Unreadable):
            canonical_bytes(data)
