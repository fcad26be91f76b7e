"""One run: load and nemesis together, rest, and the judgement."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checker.check import check
from checker.history import History
from harness.observe import Kafka, kafka, ledger_position, read_ledger
from prove.figures import describe, write_log
from prove.fleet import Fleet
from prove.installation import Installation, installation
from prove.load import probe, run_load
from prove.memory import Memory
from prove.nemesis import LOG, Breaker
from prove.outages import outages
from prove.plan import canaries, plan
from prove.remains import Tail, rest
from prove.report import Report
from prove.schedule import KINDS, Fault, Kind, clocks, schedule
from prove.sight import blind_spots

REST_S = 60.0
SERVING_S = 30.0
RIVAL = "kafka.2"
SWEEPERS = ("sweeper.1", "sweeper.2")
CLOCK_MS = 600
"""Half of what it takes to ask the server for its time on a link with half a second each way, and a little."""
TOLD = (
    "late_result_refused",
    "route_superseded",
    "bus_disconnected",
    "projection_restarts",
    "actor_failed",
    "clock_corrected",
)
"""Events of the actors' logs that show what the faults met; they are counted, not judged."""


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    seed: int
    tasks: int
    seconds: float
    every_s: float = 2.0
    longest_s: float = 20.0
    kinds: Sequence[Kind] = KINDS
    keep: bool = False

    @property
    def faults(self) -> list[Fault]:
        """The schedule."""
        return schedule(
            self.seed, seconds=self.seconds, every_s=self.every_s, longest_s=self.longest_s, kinds=self.kinds
        )


async def prove(order: Order, folder: Path, cache: Path) -> Report:
    """Everything from an empty folder to a report; nothing of it runs on afterwards."""
    began = time.monotonic()
    async with installation(folder, cache, clocks(order.seed)) as made:
        figures = {"start_s": round(time.monotonic() - began, 1)}
        breaker = Breaker(made.fleet, made.servers, dict(made.fronts))
        memory = Memory()
        intentions = plan(order.seed, tasks=order.tasks, per_s=order.tasks / order.seconds)
        broken = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(breaker.run(order.faults))
            group.create_task(run_load(intentions, made.edges, made.keys, memory))
        figures["load_s"] = round(time.monotonic() - broken, 1)
        history = await _history(made, breaker, memory, order.seed, figures)
        notes = [*made.fleet.surprises, *(f"a child of a killed actor runs on: {pid}" for pid in made.fleet.orphans())]
        if order.keep:
            write_log(history, folder / "log.jsonl")
    figures["total_s"] = round(time.monotonic() - began, 1)
    figures |= describe(history)
    verdict = await asyncio.to_thread(check, history)
    if verdict.outcome == "valid":
        notes += await asyncio.to_thread(blind_spots, history)
    counts = _counts(made, breaker, memory)
    whole = set(order.kinds) == set(KINDS)
    return Report(order.seed, order.faults, counts, memory, verdict, figures, notes, demand_proofs=whole)


async def _history(
    made: Installation, breaker: Breaker, memory: Memory, seed: int, figures: dict[str, float]
) -> History:
    """Heal, let everything come to rest, and read it with the servers' own clients."""
    made.fleet.retire(RIVAL)
    late = await made.fleet.serving(SERVING_S)
    made.fleet.surprises += [f"{name} did not serve again within {SERVING_S:g} s" for name in late]
    tail = Tail(made.direct["nats"])
    async with kafka(made.direct["kafka"]) as log_copy:
        figures["rest_s"] = round(await rest(tail, log_copy, made.direct, REST_S), 1)
        made.fleet.surprises += await probe(seed, made.edges, made.keys, memory)
        await rest(tail, log_copy, made.direct, REST_S)
        return await _read(made, breaker, memory, seed, tail, log_copy)


async def _read(
    made: Installation, breaker: Breaker, memory: Memory, seed: int, tail: Tail, log_copy: Kafka
) -> History:
    await tail.read_on()
    rows, bills = await read_ledger(made.direct["postgres"], 0)
    positions = {
        "kafka": await log_copy.position(),
        "ledger": await ledger_position(made.direct["postgres"]),
    }
    return History(
        begin=0,
        end=tail.read_to,
        submissions=memory.submissions,
        log=tail.entries,
        kafka=await log_copy.events({}),
        tasks=rows,
        usage=bills,
        positions=positions,
        clock_ms=CLOCK_MS,
        nemesis=breaker.story,
        outages=outages([*made.fleet.absences, *breaker.absences], SWEEPERS, LOG),
        readings=memory.readings,
        canaries=canaries(seed),
    )


def _counts(made: Installation, breaker: Breaker, memory: Memory) -> Counter[str]:
    counts = breaker.counts + made.fleet.counts + _told(made.fleet)
    for front in made.fronts.values():
        counts += front.weather.counts
    counts["replays"] = memory.replays
    counts["outages"] = len(outages([*made.fleet.absences, *breaker.absences], SWEEPERS, LOG))
    return counts


def _told(fleet: Fleet) -> Counter[str]:
    counts: Counter[str] = Counter()
    for log in fleet.actors.folder.glob("*.log"):
        found = re.findall(r'"event":\s*"(\w+)"', log.read_text(errors="replace"))
        counts.update(name for name in found if name in TOLD)
    return counts
