"""When nobody could end a task: what excuses a late end, and nothing else does."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from checker.history import Outage

Span = tuple[int, int]


class Absence(NamedTuple):
    """`name` could not work: it was dead, paused, starting, or its wire to nats-server was cut or held."""

    name: str
    from_ms: int
    until_ms: int
    why: str


def outages(absences: Iterable[Absence], sweepers: Sequence[str], log: str) -> list[Outage]:
    """The times in which the log was away, and those in which every sweeper was.

    A delay of half a second excuses nothing, nor does the absence of a router, an executor or one sweeper of two:
    the other one ends the task.
    """
    spans: dict[str, list[Span]] = {}
    for absence in absences:
        spans.setdefault(absence.name, []).append((absence.from_ms, absence.until_ms))
    away = [Outage(*span, f"{log} was away") for span in union(spans.get(log, []))]
    everyone = union(spans.get(sweepers[0], []))
    for name in sweepers[1:]:
        everyone = intersection(everyone, union(spans.get(name, [])))
    return sorted([*away, *(Outage(*span, "every sweeper was away") for span in everyone)])


def union(spans: Iterable[Span]) -> list[Span]:
    """Disjoint spans in order, with all that `spans` cover."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def intersection(one: Sequence[Span], two: Sequence[Span]) -> list[Span]:
    """What both cover; each is disjoint and in order."""
    both = [(max(a[0], b[0]), min(a[1], b[1])) for a in one for b in two]
    return [span for span in both if span[0] < span[1]]
