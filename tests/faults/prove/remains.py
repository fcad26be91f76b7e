"""What a run left behind, once everything came to rest."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from checker.history import LogEntry, Task
from harness.observe import Kafka, ledger_position, log_end, read_log

LOOK_S = 0.3


@dataclass
class Tail:
    """The log as it grows, each entry read once."""

    nats_url: str
    entries: list[LogEntry] = field(default_factory=list)
    open: set[Task] = field(default_factory=set)
    read_to: int = 0

    async def read_on(self) -> int:
        """Everything stored by now; gives the newest sequence."""
        end = await log_end(self.nats_url)
        for entry in await read_log(self.nats_url, self.read_to, end):
            self.entries.append(entry)
            if entry.task is not None:
                (self.open.discard if entry.event == "ended" else self.open.add)(entry.task)
        self.read_to = end
        return end


async def rest(tail: Tail, log_copy: Kafka, urls: Mapping[str, str], within_s: float) -> float:
    """Seconds until every task has ended and both copies hold all of it; gives up after `within_s`.

    Giving up is not a failure here: what is missing then is for the checker to say.
    """
    began = time.monotonic()
    while time.monotonic() < began + within_s:
        end = await tail.read_on()
        copies = await asyncio.gather(log_copy.position(), ledger_position(urls["postgres"]))
        if not tail.open and min(copies) >= end == await log_end(urls["nats"]):
            break
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began
