"""Cancelling: the terminal event, by compare-and-set against everybody else who may end the task."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.runtime import Context
from bus import subjects
from bus.persist import persist
from bus.port import Entry
from edge.tasks.errors import CancelTooLate
from edge.tasks.reading import find, result_bytes
from schemas.errors import AionError, Unavailable, WrongSequence
from schemas.events import (
    UNROUTED,
    Accepted,
    AttemptFailed,
    Ended,
    Outcome,
    Routed,
    TaskEvent,
    following,
    read_task_event,
)
from schemas.ids import EventId, TaskId, TenantId
from schemas.money import add_nanousd
from schemas.result import Usage

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """What a new event is stamped with."""

    event_id: EventId
    now_ms: int


def cancelled_event(events: Sequence[TaskEvent], mark: Mark) -> Ended:
    """The terminal event that follows `events`, the whole history of an open task.

    It names the engine of the newest decision and bills what failed attempts have cost.
    """
    briefs = [event.brief for event in events if isinstance(event, Accepted | Routed | AttemptFailed)]
    routed = [event for event in events if isinstance(event, Routed)]
    cost = add_nanousd(*(event.cost_nanousd for event in events if isinstance(event, AttemptFailed)))
    return Ended(
        **following(events[-1], mark.event_id, mark.now_ms),
        outcome=Outcome.CANCELLED,
        intent=briefs[0].intent,
        engine=routed[-1].decision if routed else UNROUTED,
        engine_name=routed[-1].engine if routed else None,
        usage=Usage(latency_ms=max(0, mark.now_ms - briefs[0].accepted_at_ms), cost_nanousd=cost),
    )


async def cancel(context: Context, tenant_id: TenantId, task_id: TaskId, within_s: float) -> bytes:
    """The canonical result of the task, now cancelled.

    Raises `CancelTooLate` when it had ended, `NotFound`, and `Unavailable` when it moves too fast to be caught.
    """
    mark = Mark(context.new_event_id(), context.now_ms())
    for _ in range(ATTEMPTS):
        entries = await context.bus.log.events(tenant_id, task_id)
        if not entries:
            return await _refuse_older(context, tenant_id, task_id)
        ended = await _end(context, entries, mark, within_s)
        if ended is not None:
            await _tell(context, tenant_id, task_id)
            return result_bytes(ended)
    raise Unavailable(f"task {task_id} moved on {ATTEMPTS} times meanwhile: cancel it again", retry_after_s=1)


async def _end(context: Context, entries: Sequence[Entry], mark: Mark, within_s: float) -> Ended | None:
    events = [read_task_event(entry.data) for entry in entries]
    newest = events[-1]
    if isinstance(newest, Ended):
        if newest.event_id == mark.event_id:
            return newest
        raise CancelTooLate(f"task {newest.task_id} has ended: result says how", result_bytes(newest))
    ended = cancelled_event(events, mark)
    try:
        await persist(context.bus.log, ended, after=entries[-1].sequence, give_up_s=within_s)
    except WrongSequence:
        return None
    return ended


async def _refuse_older(context: Context, tenant_id: TenantId, task_id: TaskId) -> bytes:
    older = await find(context.bus, tenant_id, task_id)
    if older.result is None:
        raise Unavailable(f"task {task_id} is open but not in the log: retry", retry_after_s=1)
    raise CancelTooLate(f"task {task_id} has ended: result says how", older.result)


async def _tell(context: Context, tenant_id: TenantId, task_id: TaskId) -> None:
    """Tell whoever works on it. The event alone already makes a late result impossible."""
    try:
        await context.bus.signals.send(subjects.cancel(tenant_id, task_id))
    except AionError as error:
        context.log.warning("edge.cancel_signal_failed", task_id=task_id, code=error.code)
