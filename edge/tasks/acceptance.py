"""Durable acceptance: the event a request becomes, and the append that makes it AION's."""

from dataclasses import dataclass

from bus.persist import persist
from bus.port import Log
from edge.tasks.request import fingerprint
from schemas.errors import AionError, Conflict, KeyReused, Unavailable, WrongSequence
from schemas.events import Accepted, Brief, Ended, read_task_event
from schemas.ids import EventId, TaskId, TenantId
from schemas.money import to_nanousd
from schemas.task import TaskRequest


@dataclass(frozen=True, slots=True)
class Times:
    """When the edge took the request, and how long a task may take that does not say."""

    now_ms: int
    default_timeout_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that is durably in the log. `ended` is set when a replay met a finished one."""

    task_id: TaskId
    replayed: bool
    accepted_at_ms: int
    ended: Ended | None = None


def deadline_ms(request: TaskRequest, times: Times) -> int:
    """The absolute deadline, minted once."""
    timeout_s = request.sla.timeout_s or times.default_timeout_s
    return times.now_ms + round(timeout_s * 1000)


def accepted_event(
    request: TaskRequest, tenant_id: TenantId, task_id: TaskId, event_id: EventId, traceparent: str, times: Times
) -> Accepted:
    """The first event of the task, with everything needed to run it."""
    sla = request.sla
    return Accepted(
        event_id=event_id,
        tenant_id=tenant_id,
        task_id=task_id,
        at_ms=times.now_ms,
        traceparent=traceparent,
        brief=Brief(
            intent=request.intent,
            priority=request.priority,
            privacy=sla.privacy,
            budget_nanousd=None if sla.budget_usd is None else to_nanousd(sla.budget_usd),
            p95_ms=sla.p95_ms,
            preferred_engine=request.preferred_engine,
            accepted_at_ms=times.now_ms,
            deadline_ms=deadline_ms(request, times),
        ),
        params=request.params,
        metadata=request.metadata,
        fingerprint=fingerprint(request),
    )


async def accept(log: Log, event: Accepted, *, keyed: bool, within_s: float) -> Taken:
    """Append `event`, or join the task that already has its id if that was asked for in the same words.

    Raises `KeyReused` (under a key) or `Conflict` (under a body's task_id) when it was not, else as `persist`.
    """
    try:
        await persist(log, event, after=0, give_up_s=within_s)
    except WrongSequence:
        taken = await meet(log, event, keyed=keyed, within_s=within_s)
        if taken is None:
            raise Unavailable("the task's history is just leaving the log: retry", retry_after_s=1) from None
        return taken
    return Taken(event.task_id, False, event.at_ms)


async def meet(log: Log, event: Accepted, *, keyed: bool, within_s: float) -> Taken | None:
    """The task that already has the event's id, None when the log does not hold its beginning."""
    entries = await log.events(event.tenant_id, event.task_id, timeout_s=within_s)
    if not entries:
        return None
    history = [read_task_event(entry.data) for entry in entries]
    first, newest = history[0], history[-1]
    if not isinstance(first, Accepted):
        return None  # what it was asked in is gone with its beginning
    if first.fingerprint != event.fingerprint:
        raise _reused(keyed)
    ended = newest if isinstance(newest, Ended) else None
    return Taken(event.task_id, first.event_id != event.event_id, first.at_ms, ended)


def _reused(keyed: bool) -> AionError:
    if keyed:
        return KeyReused("this Idempotency-Key already names another request: use a fresh key")
    return Conflict("this task_id already names another request: use a fresh one, or leave it out")
