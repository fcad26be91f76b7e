"""One trial: a load, a fault in its middle, rest, and the history for the checker."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from checker.history import AUDIT, DEAD_LETTERS, EVENTS, USAGE, History, LogEntry, Nemesis, Outage
from harness.client import Load
from harness.cluster import Cluster
from harness.observe import Kafka, kafka, ledger_position, log_end, read_ledger, read_log

TEXT = "The bus carries tasks. Each has one end. What is accepted is not lost. Machines fail and start again. "


def tasks(name: str, count: int) -> dict[str, dict[str, Any]]:
    """Summaries of several lengths; every tenth has a deadline that only the sweeper can serve."""
    made: dict[str, dict[str, Any]] = {}
    for number in range(count):
        ref = f"{name}-{number}"
        timeout_s = 0.001 if number % 10 == 9 else 60
        made[ref] = {
            "intent": "summarize",
            "params": {"text": TEXT * (1 + number % 7 * 20)},
            "priority": ("high", "normal", "low")[number % 3],
            "sla": {"timeout_s": timeout_s},
            "metadata": {"ref": ref},
        }
    return made


@dataclass(frozen=True)
class Trial:
    """What happened. `killed_ms` and `healed_ms` (it serves again) are on the same clock as the log's."""

    history: History
    killed_ms: int
    healed_ms: int
    rested_after_s: float

    @property
    def open_at_kill(self) -> int:
        """Tasks that were accepted before the kill and ended after it."""
        return sum(_open_at(life, self.killed_ms) for life in self.history.lives.values())

    @property
    def stored_while_down(self) -> int:
        """Events that the log took while the victim was down."""
        return sum(self.killed_ms < entry.at_ms < self.healed_ms for entry in self.history.log)


def _open_at(life: Sequence[LogEntry], at_ms: int) -> bool:
    ended_ms = max((entry.at_ms for entry in life if entry.event == "ended"), default=at_ms + 1)
    return life[0].at_ms < at_ms < ended_ms


async def run_trial(cluster: Cluster, victim: str, name: str, *, count: int, down_s: float, rest_s: float) -> Trial:
    """Hand in `count` tasks, SIGKILL `victim` at about half of them, start it again, wait for rest, read all."""
    async with kafka(cluster.urls["kafka"]) as log_copy:
        begin = await log_end(cluster.urls["nats"])
        await rest(cluster, log_copy, begin, rest_s)
        begins = await log_copy.ends(EVENTS, USAGE, AUDIT, DEAD_LETTERS)
        load = Load(cluster.url, cluster.key, tasks(name, count))
        running = asyncio.create_task(load.run())
        try:
            async with asyncio.timeout(load.give_up_s):
                await load.half.wait()
            killed_ms = _now_ms()
            cluster.kill(victim)
            await asyncio.sleep(down_s)
            started_ms = _now_ms()
            await cluster.heal(victim)
            healed_ms = _now_ms()
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        took_s = await rest(cluster, log_copy, begin, rest_s)
        nemesis = [Nemesis(killed_ms, f"SIGKILL {victim}"), Nemesis(started_ms, f"start {victim}")]
        nemesis.append(Nemesis(healed_ms, f"{victim} serves"))
        history = await read_history(cluster, log_copy, begin, begins, load, nemesis)
    return Trial(history, killed_ms, healed_ms, took_s)


async def read_history(
    cluster: Cluster,
    log_copy: Kafka,
    begin: int,
    begins: dict[TopicPartition, int],
    load: Load,
    nemesis: Sequence[Nemesis],
) -> History:
    """Everything after `begin`, from the log and from both of its copies."""
    ends_tasks = nemesis[0].what.endswith((" sweeper", " server:nats"))  # nobody can meanwhile
    outages = [Outage(nemesis[0].at_ms, nemesis[-1].at_ms, nemesis[0].what)] if ends_tasks else []
    end = await log_end(cluster.urls["nats"])
    log = await read_log(cluster.urls["nats"], begin, end)
    records = await log_copy.events(begins)
    rows, bills = await read_ledger(cluster.urls["postgres"], begin)
    positions = {"kafka": await log_copy.position(), "ledger": await ledger_position(cluster.urls["postgres"])}
    return History(begin, end, load.history, log, records, rows, bills, positions, nemesis, outages=outages)


async def rest(cluster: Cluster, log_copy: Kafka, begin: int, within_s: float) -> float:
    """Seconds until every task after `begin` has ended and both copies hold all of it; gives up after `within_s`.

    Giving up is not a failure here: what is missing then is for the checker to say.
    """
    began = time.monotonic()
    read, still_open = begin, set[tuple[str, str]]()
    while time.monotonic() < began + within_s:
        end = await log_end(cluster.urls["nats"])
        for entry in await read_log(cluster.urls["nats"], read, end):
            if entry.task is not None:
                (still_open.discard if entry.event == "ended" else still_open.add)(entry.task)
        read = end
        copies = await asyncio.gather(log_copy.position(), ledger_position(cluster.urls["postgres"]))
        if not still_open and min(copies) >= end == await log_end(cluster.urls["nats"]):
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def _now_ms() -> int:
    return int(time.time() * 1000)
