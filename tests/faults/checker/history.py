"""What a run left behind, as plain tuples: the client's memory, the log, Kafka, the ledger, and what was broken when.

The checker reads only this. It shares no code with AION: the subjects, topics and the order of events are written
down again here, from the design, so that a mistake in the code cannot excuse itself.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    one that leaves it open; then nothing may be concluded.
    """

    ref: str
    kind: Literal["ok", "fail", "info"]
    task_id: str | None
    at_ms: int
    detail: str = ""


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


class UsageRow(NamedTuple):
    """One billed line of the ledger."""

    tenant_id: str
    task_id: str
    cost_nanousd: int
    tokens: int


class Nemesis(NamedTuple):
    """Something that was broken or healed on purpose."""

    at_ms: int
    what: str


@dataclass(frozen=True)
class History:
    """Everything between log sequences `begin` (excluded) and `end` (included), and nothing else.

    `positions` are where the projections say they are. `incomplete` names the sources that could not be read to
    their end: what is missing there is then a doubt, not a violation. A task is due `grace_ms` after its deadline,
    or after `healed_ms` when that is later: nobody ends tasks in time while the one who should is dead.
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
    healed_ms: int = 0

    @cached_property
    def lives(self) -> Mapping[Task, Sequence[LogEntry]]:
        """The entries of each task in log order."""
        lives: dict[Task, list[LogEntry]] = defaultdict(list)
        for entry in sorted(self.log):
            if entry.task is not None:
                lives[entry.task].append(entry)
        return lives

    @cached_property
    def by_sequence(self) -> Mapping[int, LogEntry]:
        """The log as an index."""
        return {entry.sequence: entry for entry in self.log}
