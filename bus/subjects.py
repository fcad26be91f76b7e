"""Every subject, stream, bucket and cursor of the system, in one place.

aion.task.<event>.<lane>.<tenant>.<task_id>   the log: events of tasks
aion.audit.<tenant>.<kind>.<event_id>         the log: audit events, each under a subject of its own
aion.live.<event>.<lane>.<tenant>.<task_id>   the log's task events, republished after they were stored
aion.token.<tenant>.<task_id>                 token deltas, captured by the memory stream TOKENS
aion.rpc.<actor>.<verb>                       questions
aion.ctl.<verb>.<...>                         cancel, drain, reload
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.events import LogEvent, TaskEvent
from schemas.ids import TaskId, TenantId, subject_token
from schemas.task import Priority

LOG_STREAM: Final = "LOG"
TOKENS_STREAM: Final = "TOKENS"
LOG_SUBJECTS: Final = ("aion.task.>", "aion.audit.>")
TASKS: Final = "aion.task.>"
LIVE: Final = "aion.live.>"
TOKENS: Final = "aion.token.>"

ENGINES: Final = "ENGINES"
POLICY: Final = "POLICY"
KEYS: Final = "KEYS"
"""What every edge must know of credentials."""
SESSIONS: Final = "SESSIONS"
"""Families of refresh tokens, which only the auth actor reads."""
MODULES: Final = "MODULES"
CATALOG: Final = "CATALOG"
POSITIONS: Final = "POSITIONS"
SUSPECTS: Final = "SUSPECTS"
"""Work whose owners were lost, and how many of them; only those read it that are about to try it again."""
BUCKETS: Final = (ENGINES, POLICY, KEYS, SESSIONS, MODULES, CATALOG, POSITIONS, SUSPECTS)


def of_event(event: LogEvent) -> str:
    """The subject an event is stored under. Raises `InvalidRequest` for an id that would change its meaning."""
    if event.event == "audit":
        tokens = (event.tenant_id, event.kind, event.event_id)
        return "aion.audit." + ".".join(map(subject_token, tokens))
    return of_task_event(event)[0]


def of_task_event(event: TaskEvent) -> tuple[str, str]:
    """`of_event` and `of_task` of a task's event: where it is stored, and what its append is checked against."""
    task = f"{subject_token(event.tenant_id)}.{subject_token(event.task_id)}"
    return f"aion.task.{event.event}.{event.lane}.{task}", f"aion.task.*.*.{task}"


class TaskSubject(NamedTuple):
    """What the subject of a task's event says of it."""

    event: str
    tenant_id: TenantId
    task_id: TaskId


def task_subject(subject: str) -> TaskSubject | None:
    """The inverse of `of_event` for events of tasks; None for anything else, such as an audit event."""
    words = subject.split(".")
    if len(words) != 6 or words[1] != "task":
        return None
    return TaskSubject(words[2], TenantId(words[4]), TaskId(words[5]))


def task_of(subject: str) -> tuple[TenantId, TaskId]:
    """Whose event it is: the last two tokens of a subject under `aion.task.` or `aion.live.`."""
    head, _, task_id = subject.rpartition(".")
    return TenantId(head.rpartition(".")[2]), TaskId(task_id)


def of_task(tenant_id: TenantId, task_id: TaskId) -> str:
    """All events of one task: the compare-and-set filter, always this one."""
    return f"aion.task.*.*.{subject_token(tenant_id)}.{subject_token(task_id)}"


def live_of_task(tenant_id: TenantId, task_id: TaskId) -> str:
    """The live feed of one task."""
    return f"aion.live.*.*.{subject_token(tenant_id)}.{subject_token(task_id)}"


def live_of_event(event: str) -> str:
    """The live feed of one kind of event over all tasks, `ended` for one."""
    return f"aion.live.{event}.>"


def tokens_of_task(tenant_id: TenantId, task_id: TaskId) -> str:
    """The token deltas of one task."""
    return f"aion.token.{subject_token(tenant_id)}.{subject_token(task_id)}"


def question(actor: str, verb: str) -> str:
    """Where `actor` answers `verb`."""
    return f"aion.rpc.{actor}.{verb}"


def cancel(tenant_id: TenantId, task_id: TaskId) -> str:
    """The signal that one task was cancelled."""
    return f"aion.ctl.cancel.{subject_token(tenant_id)}.{subject_token(task_id)}"


CANCEL_ALL: Final = "aion.ctl.cancel.>"


def drain(actor: str) -> str:
    """The signal that every instance of `actor` should drain."""
    return f"aion.ctl.drain.{actor}"


ROUTER_ACK_WAIT_S: Final = 2.0
"""A router holds a task for milliseconds; one that stands still may hold hundreds, which others route after this."""
ROUTER_CAP: Final = 65_536
"""Tasks that wait for an engine are unanswered all the time: past this many others would wait behind them."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A named, shared position on the log: all replicas that open one cursor share its deliveries.

    `max_ack_pending` caps what is unanswered over all replicas: it is the concurrency cap of an engine.
    A delivery unanswered for `ack_wait_s` without a sign of progress goes to another replica.
    """

    name: str
    filter: str
    ack_wait_s: float = 10.0
    max_ack_pending: int = 4096


def is_work(cursor_name: str) -> bool:
    """Whether a cursor of that name is part of the work queue: what it has not answered is waited for."""
    return cursor_name.startswith(("accepted-", "attempt_failed-", "routed-"))


def accepted(priority: Priority) -> Cursor:
    """New tasks of one priority, for the routers."""
    return Cursor(f"accepted-{priority}", f"aion.task.accepted.{priority}.>", ROUTER_ACK_WAIT_S, ROUTER_CAP)


def attempt_failed(priority: Priority) -> Cursor:
    """Tasks whose engine could not answer, for the routers."""
    return Cursor(f"attempt_failed-{priority}", f"aion.task.attempt_failed.{priority}.>", ROUTER_ACK_WAIT_S, ROUTER_CAP)


def routed(engine: str, priority: Priority, *, cap: int = 1024, ack_wait_s: float = 10.0) -> Cursor:
    """Tasks for one engine and priority, for its executors; `cap` bounds them over all replicas."""
    lane = f"{subject_token(engine)}-{priority}"
    return Cursor(f"routed-{lane}", f"aion.task.routed.{lane}.>", ack_wait_s, cap)
