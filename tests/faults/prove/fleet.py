"""The actors of a run and who starts them again: as `make run` would, with every absence written down."""

import asyncio
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import processes
from harness.actors import Actors
from prove.outages import Absence

from actors.cli.lasting import STEADY_S, again_in_s

LOOK_S = 0.1
TAKEN_OVER = b'"taken_over"'
NO_BUS = 75
"""Of an actor that found no bus at its start. One that lost it while it started fails; both are started again, and
such a start says why. An actor that has served must outlast every fault: any other end is a finding."""
GAVE_UP = (b'"unavailable"', b'"bus_disconnected"', b'"no_responders"')
DRAIN_S = 30.0
"""An actor's grace of 20 s, and what closing takes where a server does not answer."""


@dataclass
class Member:
    """One supervised actor. `away_since_ms` is set from its end until it says that it has started."""

    name: str
    began_s: float = 0.0
    deaths_in_a_row: int = 0
    again_at_s: float | None = None
    away_since_ms: int | None = None
    why: str = ""


@dataclass
class Fleet:
    """Keeps its members alive until it is told to rest."""

    actors: Actors
    members: Mapping[str, Member]
    counts: Counter[str] = field(default_factory=Counter)
    absences: list[Absence] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    drained: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    """Processes that were stopped until somebody had taken their place, and went on: zombies."""

    def start(self) -> None:
        """Start every member."""
        for member in self.members.values():
            self._start(member, "start")

    async def keep(self) -> None:
        """Start again what dies, for ever."""
        while True:
            for member in self.members.values():
                self._look(member)
            await asyncio.sleep(LOOK_S)

    def pid(self, name: str) -> int | None:
        """The member's process, None while there is none."""
        process = self.actors.running.get(name)
        return process.pid if process is not None and process.poll() is None else None

    def kill(self, name: str) -> bool:
        """SIGKILL the member itself, not its children. False when it is dead already."""
        pid = self.pid(name)
        if pid is not None:
            self.killed.add(pid)
            processes.kill([pid])
        return pid is not None

    async def serving(self, within_s: float) -> list[str]:
        """Wait until every member serves; gives those that do not."""
        deadline = time.monotonic() + within_s
        while True:
            late = [name for name, member in self.members.items() if member.away_since_ms is not None]
            if not late or time.monotonic() > deadline:
                return late
            await asyncio.sleep(LOOK_S)

    def serves(self, name: str) -> bool:
        """Whether the member is there and has said that it has started."""
        return self.pid(name) is not None and self.members[name].away_since_ms is None

    async def served_again(self, name: str) -> None:
        """Wait until a later life of the member serves."""
        life = self.actors.starts[name]
        while True:
            if self.actors.starts[name] > life and self.serves(name):
                return
            await asyncio.sleep(LOOK_S)

    def retire(self, name: str) -> None:
        """Do not keep this one any more, and drain it."""
        self.members = {other: member for other, member in self.members.items() if other != name}
        pid = self.pid(name)
        if pid is not None:
            self.actors.running[name].terminate()

    async def drain(self, name: str) -> bool:
        """SIGTERM; false when it was dead already. One that does not leave in time, or not with 0, is a finding."""
        process = self.actors.running.get(name)
        if process is None or process.poll() is not None:
            return False
        served = self.serves(name)
        self.drained.add(process.pid)
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, DRAIN_S)
        except subprocess.TimeoutExpired:
            self.surprises.append(f"{name} did not drain within {DRAIN_S:g} s: {self.actors.tail(name, 6)}")
            self.kill(name)
        return served

    def orphans(self) -> list[str]:
        """Children of killed actors that run on."""
        self.actors.killed = list(self.killed)
        return self.actors.orphans()

    def _look(self, member: Member) -> None:
        process = self.actors.running.get(member.name)
        status = process.poll() if process is not None else None
        if member.again_at_s is not None:
            if time.monotonic() >= member.again_at_s:
                self._start(member, member.why)
        elif process is not None and status is not None:
            self._died(member, process.pid, status)
        elif member.away_since_ms is not None and self.actors.serves(member.name):
            self.absences.append(Absence(member.name, member.away_since_ms, now_ms(), member.why))
            member.away_since_ms = None

    def _start(self, member: Member, why: str) -> None:
        member.again_at_s = None
        member.began_s = time.monotonic()
        member.why = why
        if member.away_since_ms is None:
            member.away_since_ms = now_ms()
        self.actors.start(member.name)
        self.counts["actor_starts"] += 1

    def _died(self, member: Member, pid: int, status: int) -> None:
        self.actors.running.pop(member.name)
        steady = time.monotonic() - member.began_s > STEADY_S
        member.deaths_in_a_row = 1 if steady else member.deaths_in_a_row + 1
        member.again_at_s = time.monotonic() + again_in_s(member.deaths_in_a_row)
        member.away_since_ms = member.away_since_ms or now_ms()
        member.why = self._cause(member.name, pid, status)

    def _cause(self, name: str, pid: int, status: int) -> str:
        if status == -9 and pid in self.killed:
            self.counts["sigkill_exits"] += 1
            return "killed"
        if status == 0 and pid in self.drained:
            self.counts["drained_exits"] += 1
            return "drained"
        if status == 1 and TAKEN_OVER in self.actors.log(name).read_bytes():
            self.counts["taken_over_exits"] += 1
            self.counts["zombie_bridges_fenced"] += pid in self.replaced
            return "taken over"
        self.counts[f"exits_{status}"] += 1
        if status not in (1, NO_BUS) or self.actors.serves(name) or not self._found_no_bus(name):
            self.surprises.append(f"{name} ended with {status}: {self.actors.tail(name, 6)}")
        return f"ended with {status}"

    def _found_no_bus(self, name: str) -> bool:
        said = self.actors.log(name).read_bytes()
        return any(code in said for code in GAVE_UP)


def fleet(environment: Mapping[str, str], own: Mapping[str, Mapping[str, str]], folder: Path) -> Fleet:
    """A fleet of the names in `own`, not started."""
    return Fleet(Actors(environment, folder, own), {name: Member(name) for name in own})


def now_ms() -> int:
    """The wall clock, which is the log's too: one machine."""
    return int(time.time() * 1000)
