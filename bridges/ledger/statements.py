"""The ledger's SQL. Rows travel as arrays, one per column: a batch is one statement per table."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from bridges.ledger.fold import AuditRow, DeadEntry, TaskRow, UsageRow

_TYPES: Final = {"int": "bigint", "int | None": "bigint", "bytes": "bytea"}


def columns_of(row: type[Any]) -> tuple[str, ...]:
    """The column names of a row class, in the order of its arrays."""
    return tuple(column.name for column in fields(row))


def arrays(row: type[Any], rows: Sequence[Any]) -> list[list[Any]]:
    """`rows` turned on their side, one array per column."""
    return [[getattr(one, name) for one in rows] for name in columns_of(row)]


def _insert(table: str, row: type[Any], on_conflict: str) -> str:
    casts = [_TYPES.get(_annotation(column.type), "text") for column in fields(row)]
    values = ", ".join(f"${number}::{cast}[]" for number, cast in enumerate(casts, start=1))
    return f"INSERT INTO {table} ({', '.join(columns_of(row))}) SELECT * FROM unnest({values}) {on_conflict}"  # noqa: S608 - our names only


def _annotation(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _of_life(rules: Mapping[str, str]) -> str:
    """Assignments that go on with a row by `rules`, or, where an acceptance is among what is new, begin it anew."""
    case = "{0} = CASE WHEN excluded.accepted_sequence IS NOT NULL THEN excluded.{0} ELSE {1} END"
    return ", ".join(case.format(name, rule) for name, rule in rules.items())


_KEPT: Final = ("priority", "privacy", "engine", "outcome", "status", "ended_at_ms", "result")
_SUMMED: Final = ("attempts", "attempts_cost_nanousd", "cost_nanousd")
_FIRST: Final = ("accepted_at_ms", "first_sequence", "accepted_sequence")

UPSERT_TASKS: Final = _insert(
    "tasks",
    TaskRow,
    f"""ON CONFLICT (tenant_id, task_id) DO UPDATE SET
    state = excluded.state,
    last_sequence = excluded.last_sequence,
    intent = coalesce(nullif(excluded.intent, ''), tasks.intent),
    {_of_life({name: f"coalesce(excluded.{name}, tasks.{name})" for name in _KEPT})},
    {_of_life({name: f"tasks.{name} + excluded.{name}" for name in _SUMMED})},
    {_of_life({name: f"tasks.{name}" for name in _FIRST})}
WHERE excluded.first_sequence > tasks.last_sequence""",
)

INSERT_USAGE: Final = _insert("usage_billing", UsageRow, "ON CONFLICT DO NOTHING")
INSERT_AUDIT: Final = _insert("audit_activity", AuditRow, "ON CONFLICT DO NOTHING")
INSERT_UNREADABLE: Final = _insert("unreadable", DeadEntry, "ON CONFLICT DO NOTHING")

CLAIM: Final = "SELECT pg_try_advisory_lock($1)"

READ_POSITION: Final = "SELECT sequence, created, event_id FROM projection_position WHERE projection = $1"

FIRST_POSITION: Final = """
INSERT INTO projection_position (projection, sequence, created, event_id) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING"""

MOVE_POSITION: Final = """
UPDATE projection_position SET sequence = $2, created = $3, event_id = $4, updated_at = now()
WHERE projection = $1 AND sequence = $5 AND created = $3 AND event_id = $6"""

_COLUMNS: Final = "tenant_id, task_id, intent, state, status, accepted_at_ms, ended_at_ms, cost_nanousd"

GET_TASK: Final = f"SELECT {_COLUMNS}, result FROM tasks WHERE tenant_id = $1 AND task_id = $2"  # noqa: S608 - our names only

# Without results: a page of them would not fit into an answer.
LIST_TASKS: Final = f"""SELECT {_COLUMNS}, NULL AS result FROM tasks
WHERE tenant_id = $1 AND (accepted_at_ms, task_id) < ($2::bigint, $3::text)
AND ($5::text IS NULL OR coalesce(status, 'RUNNING') = $5) AND ($6::text IS NULL OR intent = $6)
AND ($7::bigint IS NULL OR accepted_at_ms >= $7) AND ($8::bigint IS NULL OR accepted_at_ms < $8)
ORDER BY accepted_at_ms DESC, task_id DESC LIMIT $4"""  # noqa: S608 - our names only
