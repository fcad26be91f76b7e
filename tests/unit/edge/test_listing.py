"""A query string becomes a question, or is refused by name."""

import pytest
from multidict import MultiDict

from edge.rest.listing import read_filters, shown
from schemas.errors import InvalidRequest
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerList, LedgerTask
from schemas.result import Status

ACME = TenantId("acme")


def test_without_filters_the_first_page_of_everything_is_asked_for() -> None:
    assert read_filters(MultiDict(), ACME) == LedgerList(tenant_id="acme", limit=50)


def test_every_filter_is_read() -> None:
    query = {
        "status": "RUNNING", "intent": "summarize", "since": "2026-11-23T20:00:00+01:00", "until": "1795500000000",
        "limit": "7", "cursor": "MTc6dA==",
    }  # fmt: skip
    assert read_filters(MultiDict(query), ACME) == LedgerList(
        tenant_id="acme", status="RUNNING", intent="summarize", since_ms=1_795_460_400_000,
        until_ms=1_795_500_000_000, limit=7, before="MTc6dA==",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"tenant_id": "other"}, "tenant_id"),
        ({"status": "ok"}, "status"),
        ({"intent": "Fly Away"}, "intent"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-23T20:00:00"}, "since"),
        ({"since": "-5"}, "since"),
        ({"until": "9" * 16}, "until"),
        ({"until": "0001-01-01T00:00:00Z"}, "until"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"cursor": "a b"}, "cursor"),
        ({"cursor": ""}, "cursor"),
    ],
)
def test_a_filter_that_is_unknown_or_wrong_is_refused_by_name(query: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        read_filters(MultiDict(query), ACME)


def test_a_filter_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        read_filters(MultiDict([("limit", "1"), ("limit", "2")]), ACME)


def test_a_task_is_shown_with_its_cost_in_dollars_and_without_its_result() -> None:
    task = LedgerTask(
        tenant_id=ACME, task_id=TaskId("t"), intent="greet", state="ended", status=Status.OK, accepted_at_ms=1,
        ended_at_ms=4, cost_nanousd=2_500_000,
    )  # fmt: skip
    assert shown(task) == {
        "task_id": "t", "intent": "greet", "status": "OK", "state": "ended", "accepted_at_ms": 1, "ended_at_ms": 4,
        "cost_usd": 0.0025,
    }  # fmt: skip
    running = LedgerTask(tenant_id=ACME, task_id=TaskId("t"), intent="greet", state="routed", accepted_at_ms=1)
    assert shown(running)["status"] == "RUNNING"
