"""What a run left behind, as plain tuples: the client's memory, the log, Kafka, the ledger, and what was broken when.

The checker reads only this. It shares no code with AION: the subjects, topics and the order of events are written
down again here, from the design, so that a mistake in the code cannot excuse itself.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

EVENTS = "aion.task.events.v1"
USAGE = "aion.usage.v1"
AUDIT = "aion.audit.v1"
DEAD_LETTERS = "aion.dlq.v1"

Source = Literal["log", "kafka", "ledger"]


class Submission(NamedTuple):
    """One attempt of a client to hand in the task it calls `ref`; several attempts may share a `ref`.

    `ok`: the answer said the task is accepted. `fail`: it said the task is not, for certain. `info`: no answer, or
    one that leaves it open; then nothing may be concluded. `variant` tells the bodies apart that were sent under one
    `ref`; it stands in the task's metadata. `body` is the canonical result, empty when the answer had none.
    `at_ms` is when the attempt began, `answered_ms` when its answer was there, and `timeout_ms` the time that the task
    was to have (0: unknown).
    """

    ref: str
    kind: Literal["ok", "fail", "info"]
    task_id: str | None
    at_ms: int
    detail: str = ""
    tenant_id: str = ""
    variant: str = ""
    body: bytes = b""
    answered_ms: int = 0
    timeout_ms: int = 0


class Reading(NamedTuple):
    """What a client was told of a task that it did not hand in with this request.

    `tenant_id` is whose credential asked, `status` 0 when no answer came: what was asked for may have been done.
    `body` is the canonical result, empty when there was none in the answer.
    `sequences` are the ids of a stream that was followed to its `done`, over all of its connections.
    """

    tenant_id: str
    task_id: str
    at_ms: int
    how: Literal["get", "cancel", "stream"]
    status: int
    body: bytes = b""
    sequences: tuple[int, ...] = ()


class LogEntry(NamedTuple):
    """One stored event: `at_ms` is the log's own clock, `body` the decoded JSON."""

    sequence: int
    subject: str
    at_ms: int
    body: dict[str, Any]

    @property
    def event(self) -> str:
        """The kind of event, by its subject: what the log filters and guards on."""
        words = self.subject.split(".")
        return words[2] if words[1] == "task" else "audit"

    @property
    def task(self) -> "Task | None":
        """Whose event it is, by its subject; None for an audit event."""
        words = self.subject.split(".")
        return Task(words[4], words[5]) if words[1] == "task" else None


class Task(NamedTuple):
    """A task's full name."""

    tenant_id: str
    task_id: str


class KafkaRecord(NamedTuple):
    """One record under `read_committed`. `topic` is without an installation's prefix."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def sequence(self) -> int:
        """The log sequence the record claims; -1 when it claims none."""
        return int(self.headers.get("aion_seq", "-1"))


class TaskRow(NamedTuple):
    """One row of the ledger's tasks; `outcome` is None while the ledger thinks the task is open."""

    tenant_id: str
    task_id: str
    state: str
    outcome: str | None
    cost_nanousd: int
    attempts: int


class UsageRow(NamedTuple):
    """One billed line of the ledger."""

    tenant_id: str
    task_id: str
    cost_nanousd: int
    tokens: int
    latency_ms: int
    outcome: str


class Nemesis(NamedTuple):
    """Something that was broken or healed on purpose."""

    at_ms: int
    what: str


class Outage(NamedTuple):
    """A time in which nobody could end a task: the log was away, or every sweeper was."""

    from_ms: int
    until_ms: int
    what: str = ""


@dataclass(frozen=True)
class History:
    """Everything between log sequences `begin` (excluded) and `end` (included), and nothing else.

    `positions` are where the projections say they are. `incomplete` names the sources that could not be read to
    their end: what is missing there is then a doubt, not a violation. A task is due `grace_ms` after its deadline; an
    outage within that time moves it to `grace_ms` after the outage. By `clock_ms` an actor may misjudge the log's
    clock. `canaries` are texts that stand in the params of one tenant's tasks and nowhere else.
    """

    begin: int
    end: int
    submissions: Sequence[Submission]
    log: Sequence[LogEntry]
    kafka: Sequence[KafkaRecord]
    tasks: Sequence[TaskRow]
    usage: Sequence[UsageRow]
    positions: Mapping[str, int]
    nemesis: Sequence[Nemesis] = ()
    incomplete: frozenset[Source] = frozenset()
    grace_ms: int = 5000
    clock_ms: int = 5
    outages: Sequence[Outage] = ()
    readings: Sequence[Reading] = ()
    canaries: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lives(self) -> Mapping[Task, Sequence[LogEntry]]:
        """The entries of each task in log order."""
        lives: dict[Task, list[LogEntry]] = defaultdict(list)
        for entry in sorted(self.log):
            if entry.task is not None:
                lives[entry.task].append(entry)
        return lives

    @cached_property
    def cancels(self) -> frozenset[Task]:
        """Every task that its tenant asked to cancel, answered or not."""
        return frozenset(Task(r.tenant_id, r.task_id) for r in self.readings if r.how == "cancel")

    def due_ms(self, deadline_ms: int) -> int:
        """When a task with this deadline must have ended."""
        due_ms = deadline_ms + self.grace_ms
        for outage in sorted(self.outages):
            if outage.from_ms <= due_ms and outage.until_ms > deadline_ms:
                due_ms = max(due_ms, outage.until_ms + self.grace_ms)
        return due_ms

    @cached_property
    def by_sequence(self) -> Mapping[int, LogEntry]:
        """The log as an index."""
        return {entry.sequence: entry for entry in self.log}
