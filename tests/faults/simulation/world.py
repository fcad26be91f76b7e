"""One seed, from its first callback to its verdict."""

import asyncio
import hashlib
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from checker.check import RULES, check
from checker.history import History, LogEntry, Nemesis
from checker.verdict import Finding, Verdict
from simulation.clients import CREDENTIALS, Answer, Clients, jobs
from simulation.loop import Process, Stuck, VirtualLoop
from simulation.members import Ground, Member, cast
from simulation.nemesis import Breaker
from simulation.rules import check_answers, check_poison, check_references, check_timeouts, error_code
from simulation.sandbox import SimulatedSandbox
from simulation.server import Figures, SimulatedServer
from simulation.sinks import KafkaStore, LedgerStore, Steps, bridge_into

from actors.runtime import Context
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bridges.projection import ProjectionSettings
from bus.port import Entry
from bus.subjects import KEYS
from edge.actor import Edge
from edge.settings import EdgeSettings
from executors.wasm.actor import WasmExecutor
from executors.wasm.settings import WasmSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas.errors import AionError
from schemas.events import AttemptFailed, Ended, Routed
from schemas.message import changed, decode

KEEP_S = 40.0
ATTEMPT_NANOUSD = 700
LOAD_S = (0.5, 4.0)
BREAK_S = (0.5, 6.0)
REST_S = 90.0


@dataclass(frozen=True)
class Result:
    """What one seed gave."""

    seed: int
    verdict: Verdict
    figures: Counter[str]
    history: History
    answers: Sequence[Answer]


class _Executor(WasmExecutor):
    """The real actor; only its cells are doubled."""

    def __init__(self, context: Context, settings: WasmSettings) -> None:
        super().__init__(context, settings)
        self._sandbox = SimulatedSandbox(context.rng)

    def _failed(self, event: Routed, error: AionError) -> Ended | AttemptFailed:
        """An attempt that fails has cost something all the same."""
        failed = super()._failed(event, error)
        return changed(failed, cost_nanousd=ATTEMPT_NANOUSD) if isinstance(failed, AttemptFailed) else failed


class _SecondEngine(_Executor):
    """Another engine for the same intents, so that a failed attempt has somewhere to go."""

    name = "spare"


def play(seed: int) -> Result:
    """Run the seed and judge it."""
    rng = Random(f"simulation {seed}")
    loop = VirtualLoop(Random(f"turns {seed}"))
    figures = Figures()
    stuck: list[str] = []
    try:
        world: World = Process("server").context().run(World, seed, loop, figures, rng)
        try:
            loop.run(world.run())
        except Stuck as error:
            stuck.append(str(error))
        except Exception:
            stuck.append(traceback.format_exc(limit=-4))
        history = world.history()
        unhandled = loop.finish()
    finally:
        loop.close()
    faults = [*stuck, *world.ground.errors, *unhandled]
    answers = world.clients.answers
    deaths = [text for _, text in world.ground.deaths]
    own = (
        lambda seen: check_answers(seen, answers),
        lambda seen: check_poison(seen, deaths),
        check_references,
        check_timeouts,
        lambda _: _crashes(faults),
    )
    verdict = check(history, (*RULES, *own))
    figures.count("redelivery", world.ground.server.redelivered)
    figures.count("tasks", len(history.lives))
    figures.count("killed by its task", len(deaths))
    figures.count("task given up", sum(error_code(life[-1]) == "poison" for life in history.lives.values()))
    figures.count("callbacks", loop.steps)
    for entry in history.log:
        figures.count(f"event {'.'.join(entry.subject.split('.')[2:4]) if entry.event == 'ended' else entry.event}")
    return Result(seed, verdict, figures.counts, history, answers)


class World:
    """An installation in one loop: every process of it, its clients, and what breaks it."""

    def __init__(self, seed: int, loop: VirtualLoop, figures: Figures, rng: Random) -> None:
        server = SimulatedServer(figures, max_age_s=KEEP_S)
        self._rng = rng
        self._looked_at = 0
        self._open: set[str] = set()
        self._steps = {name: Steps(Random(f"{seed}/{name}/steps"), figures) for name in ("kafka", "ledger")}
        self.kafka = KafkaStore(self._steps["kafka"], figures)
        self.ledger = LedgerStore(self._steps["ledger"], figures)
        self.ground = Ground(seed, loop, server, figures, rng.choice((0.0, 0.004, 0.03)))
        self.members = list(self._members())
        ports = [member.port for member in self.members if member.port is not None]
        self.clients = Clients(loop.network, ports, Random(f"{seed}/clients"), figures)
        self.breaker = Breaker(self.ground, self.members, self._steps, Random(f"{seed}/nemesis"))

    def _members(self) -> Iterator[Member]:
        wasm = WasmSettings(slots=4, ack_wait_s=2.0, advert_every_s=4.0, advert_ttl_s=12.0)
        bridge = ProjectionSettings(batch_events=8, linger_ms=50)
        for number in (1, 2):
            port = 8080 + number
            yield Member(f"edge{number}", cast(Edge, EdgeSettings(port=port, drain_grace_s=1)), self.ground, port=port)
            yield Member(f"router{number}", cast(Router, RouterSettings(slots=8)), self.ground)
            yield Member(f"wasm{number}", cast(_Executor, wasm), self.ground)
            yield Member(f"sweeper{number}", cast(Sweeper, SweeperSettings(mark_every_s=0.5)), self.ground)
        yield Member("spare1", cast(_SecondEngine, wasm), self.ground)
        yield Member("kafka1", cast(bridge_into("kafka", self.kafka), bridge), self.ground)
        yield Member("ledger1", cast(bridge_into("ledger", self.ledger), bridge), self.ground)
        stores: dict[str, KafkaStore | LedgerStore] = {"kafka": self.kafka, "ledger": self.ledger}
        second = self._rng.choice(("kafka", "ledger", "", ""))
        if second:
            store = stores[second]
            yield Member(f"{second}2", cast(bridge_into(second, store), bridge), self.ground)

    async def run(self) -> None:
        """Start, load and break, heal, rest, read."""
        for credential in CREDENTIALS.values():
            self.ground.server.buckets.put(KEYS, credential.key, credential.record, None)
        for member in self.members:
            member.start()
        await asyncio.sleep(0.5)
        load_s = self._rng.uniform(*LOAD_S)
        break_s = load_s + self._rng.uniform(*BREAK_S)
        wanted = jobs(self._rng, self._rng.randint(3, 11), load_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.clients.run(wanted))
            group.create_task(self.breaker.run(self._rng.randint(0, 10), break_s))
        await self._rest()
        await self.clients.read()

    async def _rest(self) -> None:
        """Until every task has ended and both projections hold everything; what is missing then, the checker says."""
        until_s = self.ground.loop.time() + REST_S
        while self.ground.loop.time() < until_s and not self._resting():
            await asyncio.sleep(0.25)

    def _resting(self) -> bool:
        log = self.ground.server.log
        for entry in log.record[self._looked_at :]:
            _, kind, event, _, owner = entry.subject.split(".", 4)
            if kind == "task":
                (self._open.discard if event == "ended" else self._open.add)(owner)
        self._looked_at = len(log.record)
        positions = (self.kafka.position, self.ledger.position)
        serving = all(map(self.ground.network.listens, self.clients.ports))
        return serving and not self._open and all(p is not None and p.sequence == log.last_sequence for p in positions)

    def history(self) -> History:
        """As the checker reads it."""
        log = self.ground.server.log
        positions = {"kafka": self.kafka.position, "ledger": self.ledger.position}
        deaths = self.ground.deaths
        return History(
            begin=0,
            end=log.last_sequence,
            submissions=self.clients.submissions,
            log=[_read(entry) for entry in log.record],
            kafka=self.kafka.records,
            tasks=list(self.ledger.tasks.values()),
            usage=self.ledger.usage,
            positions={name: at.sequence if at else 0 for name, at in positions.items()},
            nemesis=sorted([*self.breaker.done, *(Nemesis(at_ms, f"killed by {text}") for at_ms, text in deaths)]),
            readings=self.clients.readings,
        )


def _read(entry: Entry) -> LogEntry:
    return LogEntry(entry.sequence, entry.subject, entry.at_ns // 1_000_000, decode(entry.data, dict[str, Any]))


def _crashes(faults: list[str]) -> Iterator[Finding]:
    for fault in faults:
        yield Finding("crash", fault)


def digest(result: Result) -> str:
    """SHA-256 over everything that anybody could see, byte for byte: the same seed gives the same."""
    history = result.history
    told = result.answers
    seen = (history.log, history.submissions, history.kafka, history.tasks, history.usage, history.nemesis, told)
    return hashlib.sha256(repr(seen).encode()).hexdigest()
