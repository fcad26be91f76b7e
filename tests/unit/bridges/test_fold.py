"""A batch of events as rows."""

import json

import pytest
from story import Story

from bridges.ledger.answers import decode_before, encode_before
from bridges.ledger.fold import fold
from bridges.ledger.migrate import Migration, migrations, missing
from bus.port import Entry
from schemas.errors import InvalidRequest, Misconfigured
from schemas.events import LogEvent, canonical_result
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerTask
from schemas.message import changed, encode


def test_a_whole_task_is_one_row_and_one_bill(story: Story) -> None:
    ended = story.ended("t1", cost_nanousd=700)
    events: list[LogEvent] = [story.accepted("t1"), story.routed("t1"), story.started("t1")]
    events += [story.attempt_failed("t1", 50), story.routed("t1"), ended]
    folded = fold(story.entry(number, event) for number, event in enumerate(events, start=1))
    (row,) = folded.tasks.values()
    assert (row.state, row.status, row.outcome, row.attempts) == ("ended", "OK", "completed", 2)
    assert (row.cost_nanousd, row.attempts_cost_nanousd) == (700, 50)
    assert (row.first_sequence, row.last_sequence) == (1, 6)
    assert row.result == encode(canonical_result(ended)).decode()
    (bill,) = folded.usage
    assert (bill.cost_nanousd, bill.tokens, bill.sequence) == (700, 7, 6)


def test_tenants_with_the_same_task_id_stay_apart(story: Story) -> None:
    folded = fold([story.entry(1, story.accepted("t1", "acme")), story.entry(2, story.accepted("t1", "other"))])
    assert set(folded.tasks) == {("acme", "t1"), ("other", "t1")}


def test_an_audit_event_is_a_row_that_postgresql_can_store(story: Story) -> None:
    event = changed(story.audit("nul \0 inside"), actor="a\0b")
    (row,) = fold([story.entry(4, event)]).audit
    assert row.actor == "a\ufffdb"
    assert "\0" not in row.detail
    assert json.loads(row.detail) == {"verdict": "nul \0 inside"}


def test_what_is_no_event_is_kept_whole(story: Story) -> None:
    folded = fold([Entry(8, 0, "aion.task.x", b"\x00garbage"), story.entry(9, story.accepted("t1"))])
    (kept,) = folded.unreadable
    assert (kept.sequence, kept.data) == (8, b"\x00garbage")
    assert len(folded.tasks) == 1


@pytest.mark.parametrize("wrong", [b'"text":"\xff"', b'"n":1e999'])
def test_params_that_nobody_can_read_are_kept_whole(story: Story, wrong: bytes) -> None:
    entry = story.entry(1, story.accepted("t1"))
    entry = entry._replace(data=entry.data.replace(b'"text":"hi"', wrong))
    (kept,) = fold([entry]).unreadable
    assert kept.data == entry.data


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (b'"at_ms":1700000000000', b'"at_ms":9223372036854775808'),
        (b'"accepted_at_ms":1700000000000', b'"accepted_at_ms":-1'),
        (b'"accepted_at_ms":1700000000000', b'"accepted_at_ms":99999999999999999999'),
        (b'"deadline_ms":1700000060000', b'"deadline_ms":99999999999999999999'),
        (b'"cost_nanousd":5', b'"cost_nanousd":99999999999999999999'),
    ],
)
def test_a_number_that_no_column_holds_is_kept_as_unreadable(story: Story, told: bytes, wrong: bytes) -> None:
    entry = story.entry(1, story.attempt_failed("t1", 5))
    assert told in entry.data
    folded = fold([entry._replace(data=entry.data.replace(told, wrong, 1))])
    assert (len(folded.unreadable), folded.tasks) == (1, {})


def test_the_next_of_a_page_comes_back_as_it_was() -> None:
    task = LedgerTask(tenant_id=TenantId("acme"), task_id=TaskId("t-1"), intent="i", state="ended", accepted_at_ms=12)
    assert decode_before(encode_before(task)) == (12, "t-1")


@pytest.mark.parametrize("before", ["", "x", "!!!!", "LTE6YQ==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OmE=", "é"])
def test_a_forged_next_is_refused(before: str) -> None:
    with pytest.raises(InvalidRequest, match="not the next of a page"):
        decode_before(before)


def test_an_altered_migration_is_refused() -> None:
    wanted = migrations()
    assert [migration.version for migration in wanted] == list(range(1, len(wanted) + 1))
    with pytest.raises(Misconfigured, match="altered"):
        missing({1: "0" * 64}, wanted)


def test_a_database_of_a_newer_aion_is_refused() -> None:
    with pytest.raises(Misconfigured, match="newer"):
        missing({9: "0" * 64}, (Migration(1, "0001_a.sql", ""),))
