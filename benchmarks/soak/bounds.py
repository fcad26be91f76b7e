"""How much each figure may rise, and why not less."""

from benchmarks.soak.judge import Bound, Kind
from benchmarks.soak.resources import CHILDREN

ACTOR_MIB = Bound(per_hour=8.0, noise=1.0)
"""An interpreter's heap moves by some hundred KiB with what is in flight; the rest of a rise is kept for good."""
SERVER_MIB = {
    "nats server": Bound(per_hour=8.0, noise=12.0),
    "kafka server": Bound(per_hour=16.0, noise=12.0, level=400.0),
    "postgres server": Bound(per_hour=8.0, noise=4.0),
}
"""Collectors of garbage swing by what they have not collected; PostgreSQL's sessions and workers come and go. Kafka's
virtual machine fills its heap up to 256 MiB before it collects all of it, and needs up to 140 MiB besides."""
PASSING_FDS = Bound(noise=96.0)
"""Of PostgreSQL's children: an autovacuum worker comes with some sixty for a moment, and the processes that read and
write pages each open each table's files once."""
OTHERS = {
    "fds": Bound(noise=2.0, share=0.02),
    "threads": Bound(noise=1.0, share=0.02),
    "messages": Bound(noise=64.0, share=0.05),
    "kib": Bound(noise=64.0, share=0.05),
}


def bound_of(kind: Kind, subject: str, rate: float) -> Bound:
    """The bound for one figure at `rate` tasks a second; what waits may rise by what half a second brings."""
    if kind == "rss":
        return SERVER_MIB.get(subject.removesuffix(CHILDREN), ACTOR_MIB)
    if kind == "fds" and subject == "postgres server" + CHILDREN:
        return PASSING_FDS
    if kind == "pending":
        return Bound(noise=0.5 * rate)
    if kind == "lag":
        return Bound(noise=1.5 * rate)  # three events a task
    return OTHERS[kind]
