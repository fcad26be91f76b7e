"""What breaks things: a plan drawn from the seed, carried out in virtual time, and undone at its end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random

from checker.history import Nemesis
from simulation.members import Ground, Member
from simulation.server import now_ms
from simulation.sinks import Steps

KINDS = {
    "kill": 3,
    "pause": 3,
    "cut": 2,
    "gone": 1,
    "slow": 1,
    "drain": 1,
    "drain by signal": 1,
    "lose acks": 2,
    "log full": 1,
    "sink trouble": 2,
    "server away": 1,
}
"""What may be broken, and how often in relation."""
WORKERS = {"router": 2, "wasm": 3}
"""Who holds deliveries is hurt more often."""
FULL_S = 3.0
AWAY_S = 2.0
"""The longest that nobody at all can append. With a sweeper's own grace, still less than a task may end late."""
APART_S = 8.0
"""From one such time to the next."""


class Breaker:
    """Breaks `members` and what they share, `count` times within `within_s`; at most one sweeper at a time."""

    def __init__(self, ground: Ground, members: Sequence[Member], steps: Mapping[str, Steps], rng: Random) -> None:
        self._ground = ground
        self._members = members
        self._steps = steps
        self._rng = rng
        self._undoing: set[asyncio.Task[None]] = set()
        self._halted_s = -APART_S
        self.done: list[Nemesis] = []

    async def run(self, count: int, within_s: float) -> None:
        """Break at random moments; a seed prefers some kinds over others."""
        kinds = self._rng.sample(list(KINDS), self._rng.randint(2, len(KINDS)))
        weights = [KINDS[kind] for kind in kinds]
        moments = sorted(self._rng.random() * within_s for _ in range(count))
        begin_s = self._ground.loop.time()
        for moment_s in moments:
            await asyncio.sleep(max(0.0, begin_s + moment_s - self._ground.loop.time()))
            self._break(self._rng.choices(kinds, weights)[0])
        await asyncio.sleep(max(0.0, begin_s + within_s - self._ground.loop.time()))
        self.heal()

    def heal(self) -> None:
        """Undo everything at once."""
        for task in self._undoing:
            task.cancel()
        for steps in self._steps.values():
            steps.trouble = 0.0
        self._ground.server.log.max_bytes = 1 << 30
        for member in self._members:
            member.heal()
        self._note("healed everything")

    def _break(self, kind: str) -> None:
        rng = self._rng
        if kind == "lose acks":
            self._note("lose the next acknowledgements")
            self._ground.server.lose_next_ack(rng.randint(1, 3))
        elif kind in ("log full", "server away"):
            self._halt_all(kind, rng.random() ** 2)
        elif kind == "sink trouble":
            self._trouble(rng.choice(sorted(self._steps)), rng.choice((0.1, 0.3)), rng.random() * 4)
        else:
            weights = [WORKERS.get(member.role, 1) for member in self._members]
            self._hurt(kind, rng.choices(self._members, weights)[0])

    def _hurt(self, kind: str, member: Member) -> None:
        rng = self._rng
        if member.role == "sweeper" and not self._other_sweeps(member):
            return
        if kind == "kill" and member.kill():
            self._did("kill", member)
            self._later(rng.random() ** 2 * 4, member.start, f"start {member.name}")
        elif kind == "pause" and member.stop():
            for_s = rng.choice((0.3, 3.0, 12.0, 15.0)) * (0.5 + rng.random())
            self._did("pause", member)
            self._later(for_s, lambda: self._resume(member), f"resume {member.name}")
        elif kind == "cut" and member.unlink():
            self._did("cut", member)
            self._later(rng.random() ** 2 * 8, member.relink, f"relink {member.name}")
        elif kind == "gone" and member.disconnect():
            self._did("gone", member)
        elif kind == "slow":
            self._did("slow", member)
            link = member.link
            link.slow_s = rng.choice((0.05, 0.4))
            self._later(rng.random() * 5, lambda: setattr(link, "slow_s", 0.0), f"{member.name} is quick again")
        elif kind == "drain" and member.terminate():
            self._did("drain", member)
        elif kind == "drain by signal" and member.role != "sweeper":
            self._did(kind, member)
            self._signal(f"aion.ctl.drain.{member.role}")

    def _other_sweeps(self, member: Member) -> bool:
        """The promise of an end in time needs one sweeper that could read the log meanwhile."""
        now_s = self._ground.loop.time()
        others = [m for m in self._members if m.role == "sweeper" and m is not member]
        return any(other.well and now_s - other.well_since_s > 2.0 for other in others)

    def _resume(self, member: Member) -> None:
        waited = member.resume()
        self._ground.figures.count("callbacks of a resumed process", waited)

    def _signal(self, subject: str) -> None:
        for pattern, deliver in list(self._ground.server.listeners.values()):
            if pattern == subject:
                deliver(subject)

    def _halt_all(self, kind: str, share: float) -> None:
        now_s = self._ground.loop.time()
        if now_s < self._halted_s + APART_S:
            return
        self._halted_s = now_s
        if kind == "log full":
            self._fill(share * FULL_S)
            return
        self._ground.figures.count("server away")
        self._note("the server is away")
        for member in self._members:
            if member.unlink():
                self._later(share * AWAY_S, member.relink, f"relink {member.name}")

    def _fill(self, for_s: float) -> None:
        log = self._ground.server.log
        log.max_bytes = log.info().size_bytes
        self._note("the log is full")
        self._later(for_s, lambda: setattr(log, "max_bytes", 1 << 30), "the log has room")

    def _trouble(self, name: str, chance: float, for_s: float) -> None:
        steps = self._steps[name]
        steps.trouble = chance
        self._note(f"the sink of {name} breaks down at every {round(1 / chance)}th step")
        self._later(for_s, lambda: setattr(steps, "trouble", 0.0), f"the sink of {name} works")

    def _did(self, kind: str, member: Member) -> None:
        self._ground.figures.count(kind)
        self._ground.figures.count(f"{kind} {member.role}")
        self._note(f"{kind} {member.name}")

    def _note(self, what: str) -> None:
        self.done.append(Nemesis(now_ms(), what))

    def _later(self, after_s: float, undo: Callable[[], object], what: str) -> None:
        async def wait() -> None:
            await asyncio.sleep(after_s)
            undo()
            self._note(what)

        task = asyncio.get_running_loop().create_task(wait())
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)
