"""Does what the schedule says, and proves that it happened."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from checker.history import Nemesis
from harness import processes
from harness.front import Front
from harness.lane import Disturbance
from harness.servers import Servers
from prove.fleet import Fleet, now_ms
from prove.outages import Absence
from prove.schedule import BRIDGES, Fault, Kind

NATS = "server:nats"
NATS_LINK = "link:nats"
TAKE_OVER_S = 2.0
"""What a bridge needs after its start to fence all earlier ones."""
LOG = "log"
"""Whose absence it is when nobody can reach nats-server, or nats-server itself is not there."""

DISTURBANCES: Mapping[Kind, Callable[[Fault], Disturbance]] = {
    "cut": lambda _: Disturbance(cut=True),
    "delay": lambda fault: Disturbance(delay_s=fault.amount_s),
    "hold": lambda fault: Disturbance(held=fault.direction),
    "end_txn": lambda fault: Disturbance(end_txn_delay_s=fault.amount_s),
}


@dataclass
class Breaker:
    """Strikes and heals. `fronts` are by link; `link:nats` is all of those to nats-server."""

    fleet: Fleet
    servers: Servers
    fronts: dict[str, Front]
    story: list[Nemesis] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, faults: Sequence[Fault]) -> None:
        """Each fault at its time, whatever became of the others; returns when the last one is healed."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began_s + fault.at_s - loop.time()))
                group.create_task(self._suffer(fault))

    async def _suffer(self, fault: Fault) -> None:
        began_ms = now_ms()
        self.story.append(Nemesis(began_ms, fault.text))
        if fault.victim.startswith("link:"):
            await self._break_link(fault)
        elif fault.victim.startswith("server:"):
            await self._break_server(fault)
        else:
            await self._break_actor(fault)
        self.story.append(Nemesis(now_ms(), f"healed: {fault.kind} {fault.victim}"))
        for name in _absent(fault):
            self.absences.append(Absence(name, began_ms, now_ms(), fault.text))

    async def _break_actor(self, fault: Fault) -> None:
        """The supervisor starts it again, and knows how long that takes."""
        if fault.kind == "kill":
            self.counts["kill_missed"] += not self.fleet.kill(fault.victim)
            return
        if fault.kind == "drain":
            self.counts["drain_missed"] += not await self.fleet.drain(fault.victim)
            return
        if fault.kind == "zombie":
            await self._make_zombie(fault)
            return
        pid = self.fleet.pid(fault.victim)
        if pid is None:
            self.counts["pause_missed"] += 1
            return
        self.counts["sigstop_seen_as_T"] += processes.pause([pid])
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            processes.resume([pid])

    async def _make_zombie(self, fault: Fault) -> None:
        """Of two bridges with one identity the other one may be dead or fenced just now: then it is paused instead."""
        names = sorted(BRIDGES, key=lambda name: (not self.fleet.serves(name), name != fault.victim))
        zombie, other = names
        pid = self.fleet.pid(zombie)
        if pid is None:
            self.counts["pause_missed"] += 1
            return
        self.counts["sigstop_seen_as_T"] += processes.pause([pid])
        try:
            self.fleet.kill(other)  # its next life takes over what the zombie holds
            async with asyncio.timeout(fault.for_s):
                await self.fleet.served_again(other)
                await asyncio.sleep(TAKE_OVER_S)
            self.fleet.replaced.add(pid)
        except TimeoutError:
            self.counts["zombie_not_replaced"] += 1
        finally:
            processes.resume([pid])

    async def _break_server(self, fault: Fault) -> None:
        name = fault.victim.removeprefix("server:")
        if fault.kind == "kill":
            status = await asyncio.to_thread(self.servers.kill, name)
            self.counts["server_sigkill_exits"] += status == -9
            await asyncio.sleep(fault.for_s)
            await asyncio.to_thread(self.servers.up, name)
            return
        pids = self.servers.pids(name)
        self.counts["server_sigstop_seen_as_T"] += processes.pause(pids)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            processes.resume(pids)

    async def _break_link(self, fault: Fault) -> None:
        fronts = self._fronts_of(fault.victim)
        if fault.kind == "reset":
            for front in fronts:
                front.reset()
            return
        disturbance = DISTURBANCES[fault.kind](fault)
        for front in fronts:
            front.disturb(disturbance)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            for front in fronts:
                front.heal(disturbance)

    def _fronts_of(self, victim: str) -> list[Front]:
        if victim == NATS_LINK:
            return [front for name, front in self.fronts.items() if name.startswith(f"{NATS_LINK}/")]
        return [self.fronts[victim]]


def _absent(fault: Fault) -> list[str]:
    """Who could not work meanwhile; a killed actor's absence is the supervisor's to tell."""
    if fault.kind in ("delay", "reset", "end_txn"):
        return []
    if fault.victim in (NATS, NATS_LINK):
        return [LOG]
    if fault.victim.startswith(f"{NATS_LINK}/"):
        return [fault.victim.removeprefix(f"{NATS_LINK}/")]
    return [fault.victim] if fault.kind == "pause" else []
