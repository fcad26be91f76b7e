"""A batch of events as rows: one per task whatever it went through, so that a batch costs a few statements.

Plain folding, no I/O. The order of the log decides; a later event only ever adds to its task's row, unless it is an
acceptance: after the log's window an id may be used again, and the row is of its newest life.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, assert_never

from bridges.judging import Unfit, read_entry
from bus.port import Entry
from schemas.events import (
    Accepted,
    AttemptFailed,
    AuditEvent,
    Ended,
    EndedInFull,
    Routed,
    Started,
    TaskEvent,
    canonical_result,
)
from schemas.message import Unreadable, encode

_REASON_CHARS: Final = 400


@dataclass(slots=True)
class TaskRow:
    """What a batch says of one task; None where it says nothing.

    With an `accepted_sequence` it says all, and what was known of the id before is of an earlier life.
    """

    tenant_id: str
    task_id: str
    first_sequence: int
    accepted_at_ms: int
    intent: str = ""
    state: str = "accepted"
    priority: str | None = None
    privacy: str | None = None
    engine: str | None = None
    outcome: str | None = None
    status: str | None = None
    ended_at_ms: int | None = None
    attempts: int = 0
    attempts_cost_nanousd: int = 0
    cost_nanousd: int = 0
    result: str | None = None
    last_sequence: int = 0
    accepted_sequence: int | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one life of a task is billed."""

    tenant_id: str
    task_id: str
    event_id: str
    intent: str
    engine: str | None
    route: str
    outcome: str
    tokens: int
    latency_ms: int
    cost_nanousd: int
    ended_at_ms: int
    sequence: int


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of a tenant's audit trail; `detail` is JSON."""

    tenant_id: str
    event_id: str
    kind: str
    at_ms: int
    actor: str
    subject: str
    detail: str
    sequence: int


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """An entry that is not one of our events, kept whole."""

    sequence: int
    log_subject: str
    reason: str
    data: bytes


@dataclass(slots=True)
class Folded:
    """The rows of one batch."""

    tasks: dict[tuple[str, str], TaskRow] = field(default_factory=dict)
    usage: list[UsageRow] = field(default_factory=list)
    audit: list[AuditRow] = field(default_factory=list)
    unreadable: list[DeadEntry] = field(default_factory=list)


def fold(entries: Iterable[Entry], folded: Folded | None = None) -> Folded:
    """All rows of `entries`, which must be in the log's order and follow those that `folded` was made of."""
    folded = Folded() if folded is None else folded
    for entry in entries:
        try:
            event = read_entry(entry)
        except (Unfit, Unreadable) as error:
            reason = _storable(str(error))[:_REASON_CHARS]
            folded.unreadable.append(DeadEntry(entry.sequence, _storable(entry.subject), reason, entry.data))
            continue
        if isinstance(event, AuditEvent):
            folded.audit.append(_audit(entry, event))
        else:
            _add(folded, entry, event)
    return folded


def _add(folded: Folded, entry: Entry, event: TaskEvent | EndedInFull) -> None:
    key = (event.tenant_id, event.task_id)
    row = folded.tasks.get(key)
    if row is None or isinstance(event, Accepted):
        row = folded.tasks[key] = TaskRow(*key, first_sequence=entry.sequence, accepted_at_ms=event.at_ms)
    row.last_sequence = entry.sequence
    row.state = event.event
    match event:
        case Accepted():
            _brief(row, event)
            row.accepted_sequence = entry.sequence
        case Routed():
            _brief(row, event)
            row.engine = event.engine
            row.attempts += 1
        case Started():
            row.engine = event.engine
        case AttemptFailed():
            _brief(row, event)
            row.engine = event.engine
            row.attempts_cost_nanousd += event.cost_nanousd
        case Ended() | EndedInFull():
            _end(row, event)
            folded.usage.append(_usage(entry, event))
        case _:
            assert_never(event)


def _brief(row: TaskRow, event: Accepted | Routed | AttemptFailed) -> None:
    row.intent = event.brief.intent
    row.priority = event.brief.priority
    row.privacy = event.brief.privacy
    row.accepted_at_ms = event.brief.accepted_at_ms


def _end(row: TaskRow, event: Ended | EndedInFull) -> None:
    result = canonical_result(event)
    row.intent = event.intent
    row.engine = event.engine_name or row.engine
    row.outcome = event.outcome
    row.status = result.status
    row.ended_at_ms = event.at_ms
    row.cost_nanousd += event.usage.cost_nanousd
    row.result = encode(result).decode()


def _usage(entry: Entry, event: Ended | EndedInFull) -> UsageRow:
    return UsageRow(
        tenant_id=event.tenant_id,
        task_id=event.task_id,
        event_id=_storable(event.event_id),
        intent=event.intent,
        engine=event.engine_name,
        route=event.engine.route,
        outcome=event.outcome,
        tokens=event.usage.tokens,
        latency_ms=event.usage.latency_ms,
        cost_nanousd=event.usage.cost_nanousd,
        ended_at_ms=event.at_ms,
        sequence=entry.sequence,
    )


def _audit(entry: Entry, event: AuditEvent) -> AuditRow:
    return AuditRow(
        tenant_id=event.tenant_id,
        event_id=_storable(event.event_id),
        kind=event.kind,
        at_ms=event.at_ms,
        actor=_storable(event.actor),
        subject=_storable(event.subject),
        detail=json.dumps(event.detail, separators=(",", ":"), ensure_ascii=False),
        sequence=entry.sequence,
    )


def _storable(text: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return text.replace("\0", "\ufffd")
