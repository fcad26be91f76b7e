"""A task as its tenant may see it: from the log, and once it left the log's window, from the ledger."""

import json
from dataclasses import dataclass
from typing import Any

from bus.port import Bus, Entry
from bus.questions import LEDGER_GET
from schemas.errors import DeadlineExceeded, NotFound, Unavailable
from schemas.events import Ended, canonical_bytes, canonical_result
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerGet
from schemas.message import encode


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest that is known of a task. `result` is its canonical JSON once it has ended."""

    state: str
    sequence: int
    result: bytes | None


def result_bytes(ended: Ended) -> bytes:
    """The canonical result: the same bytes at each reading."""
    return encode(canonical_result(ended))


def state_of(entry: Entry) -> str:
    """The event's name, from `aion.task.<event>...`."""
    return entry.subject.split(".")[2]


def seen(entry: Entry) -> Seen:
    """What the task's newest entry says."""
    state = state_of(entry)
    return Seen(state, entry.sequence, canonical_bytes(entry.data) if state == "ended" else None)


async def find(bus: Bus, tenant_id: TenantId, task_id: TaskId) -> Seen:
    """The task. Raises `NotFound`, alike for unknown tasks and for other tenants', and `Unavailable`."""
    entry = await bus.log.last(tenant_id, task_id)
    return seen(entry) if entry is not None else await _older(bus, tenant_id, task_id)


async def history(bus: Bus, tenant_id: TenantId, task_id: TaskId) -> list[dict[str, Any]]:
    """The task's events that are still in the log, without their params. Raises `NotFound` when there are none."""
    entries = await bus.log.events(tenant_id, task_id)
    if not entries:
        raise unknown_task(task_id)
    return [
        {"sequence": entry.sequence, "at_ms": entry.at_ns // 1_000_000} | without_params(entry) for entry in entries
    ]


def without_params(entry: Entry) -> dict[str, Any]:
    """The event as JSON values; the params stay inside, they are repeated in several events and may be large."""
    event: dict[str, Any] = json.loads(entry.data)
    event.pop("params", None)
    return event


def unknown_task(task_id: TaskId) -> NotFound:
    """The one answer for every task that this tenant does not have."""
    return NotFound(f"there is no task {task_id}: it was never accepted, or it is older than what is kept")


async def _older(bus: Bus, tenant_id: TenantId, task_id: TaskId) -> Seen:
    try:
        task = await bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id=tenant_id, task_id=task_id))
    except NotFound:
        raise unknown_task(task_id) from None
    except DeadlineExceeded as error:  # the question's, not the task's: a client may ask again
        raise Unavailable("the ledger did not answer in time: ask again", retry_after_s=1.0) from error
    if task.tenant_id != tenant_id:
        raise unknown_task(task_id)
    return Seen(task.state, 0, encode(task.result) if task.result else None)
