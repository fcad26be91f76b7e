"""Which entries of the log are taken for events: one judgement, so that all bridges bill the same ends."""

import re
from typing import Final

from bus.port import Entry
from bus.subjects import TaskSubject, task_subject
from schemas.events import AuditEvent, EndedInFull, Head, LogEvent, read_ended_in_full
from schemas.ids import TOKEN_PATTERN
from schemas.message import Unreadable

ID_CHARS: Final = 256
"""Of an event's id, and of its `traceparent`."""
_TOKEN: Final = re.compile(TOKEN_PATTERN)


class Unfit(ValueError):
    """An entry that can be read, but not be taken for what its subject says; the text says why."""


def read_entry(entry: Entry) -> EndedInFull | LogEvent:
    """The event in `entry`, an end as `read_end` has it. Raises `schemas.message.Unreadable` or `Unfit`."""
    subject = task_subject(entry.subject)
    if subject is not None and subject.event == "ended":
        return read_end(entry, subject)
    event = entry.event()
    check_ids(event)
    if isinstance(event, AuditEvent):
        fits = audit_subject(entry.subject) == (event.tenant_id, event.kind)
    else:
        fits = subject == (event.event, event.tenant_id, event.task_id)
    if not fits:
        raise stranger(entry)
    return event


def read_end(entry: Entry, subject: TaskSubject) -> EndedInFull:
    """What is billed for `entry`, whose `subject` says `ended`. Raises `schemas.message.Unreadable` or `Unfit`."""
    ended = read_ended_in_full(entry.data)
    check_ids(ended)
    ids = ended.tenant_id, ended.task_id
    if ids != subject[1:] or not all(map(_TOKEN.fullmatch, ids)):
        raise stranger(entry)
    return ended


def is_billed(entry: Entry) -> bool:
    """Whether every bridge bills `entry`: it is an end that can be read, however large, and of whichever life."""
    subject = task_subject(entry.subject)
    if subject is None or subject.event != "ended":
        return False
    try:
        read_end(entry, subject)
    except (Unfit, Unreadable):
        return False
    return True


def check_ids(event: Head | EndedInFull | LogEvent) -> None:
    """Raise `Unfit` unless a header and a column hold the event's ids."""
    if not 0 < len(event.event_id) <= ID_CHARS or len(event.traceparent or "") > ID_CHARS:
        raise Unfit(f"event_id and traceparent are texts of 1 to {ID_CHARS} characters")


def audit_subject(subject: str) -> tuple[str, str] | None:
    """Tenant and kind that the subject of an audit event names; None for any other."""
    words = subject.split(".")
    return (words[2], words[3]) if len(words) == 5 and words[1] == "audit" else None


def stranger(entry: Entry) -> Unfit:
    """Why an entry is refused that is under the subject of another."""
    return Unfit(f"subject {entry.subject} does not fit the event")
