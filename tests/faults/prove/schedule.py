"""What is broken when: a pure function of a seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

Kind = Literal["kill", "drain", "pause", "zombie", "cut", "delay", "hold", "reset", "end_txn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ACTORS = ("edge", "router", "wasm", "sweeper", "kafka", "ledger")
SERVERS = ("server:nats", "server:kafka", "server:postgres")
TYPES = (*ACTORS, *SERVERS)
REPLICAS = (1, 2)
ACTOR_NAMES = tuple(f"{name}.{replica}" for name in ACTORS for replica in REPLICAS)
PROCESSES = (*ACTOR_NAMES, *SERVERS)
LINKS = (
    *(f"link:nats/{name}" for name in ACTOR_NAMES),
    *("link:nats", "link:kafka", *(f"link:postgres/ledger.{replica}" for replica in REPLICAS)),
)
"""`link:nats` is the wire of all actors to nats-server; the others are one client's."""
ROUND: tuple[Kind, ...] = (
    *("kill", "kill", "drain", "pause", "pause", "zombie", "cut", "delay", "hold", "reset", "end_txn"),
)
"""Each kind once, processes twice, in an order that the seed decides; then again."""
BRIDGES = ("kafka.1", "kafka.2")
RESTART_S = 6.0
"""A killed process is not struck again for so long, so that it can come back."""
CLOCKS_APART_S = 300.0
PATIENT_S = 20.0
"""The longest that a zombie waits to be replaced."""


@dataclass(frozen=True)
class Fault:
    """`kind` strikes `victim` at `at_s` and is healed after `for_s`.

    `amount_s` is a delay's; `direction` is where a held link lets nothing through. Who starts a killed actor again
    is the supervisor; a killed server is started after `for_s`.
    """

    at_s: float
    kind: Kind
    victim: str
    for_s: float
    amount_s: float = 0.0
    direction: Literal["up", "down"] = "up"

    @property
    def text(self) -> str:
        """For a person."""
        extra = {"delay": f" by {self.amount_s:.2f} s", "end_txn": f" by {self.amount_s:.2f} s"}.get(self.kind, "")
        extra = f" {self.direction}" if self.kind == "hold" else extra
        return f"{self.kind}{extra} {self.victim} for {self.for_s:.1f} s"


def schedule(
    seed: int, *, seconds: float, every_s: float, longest_s: float, kinds: Sequence[Kind] = KINDS
) -> list[Fault]:
    """One fault every `every_s` until `seconds`; none lasts longer than `longest_s` (1 to 20 s for a pause)."""
    random = Random(seed)
    decks = {kind: Deck(kind, random) for kind in KINDS}
    order = _rounds(kinds, random)
    busy_until: dict[str, float] = {}
    faults: list[Fault] = []
    for number in range(int(seconds / every_s)):
        at_s, kind = round((number + 1) * every_s, 3), next(order)
        fault = _fault(kind, at_s, decks[kind], busy_until, longest_s, random)
        rest_s = RESTART_S if fault.kind in ("kill", "drain") else 0.0
        if kind != "zombie":  # it may be struck in its sleep, too
            busy_until[fault.victim] = max(busy_until.get(fault.victim, 0.0), at_s + fault.for_s + rest_s)
        faults.append(fault)
    return faults


def clocks(seed: int) -> Mapping[str, float]:
    """By how many seconds each actor's own clock is wrong, in all its lives: up to five minutes, either way."""
    random = Random(f"clocks {seed}")
    return {name: round(random.uniform(-CLOCKS_APART_S, CLOCKS_APART_S), 3) for name in ACTOR_NAMES}


def _rounds(kinds: Sequence[Kind], random: Random) -> Iterator[Kind]:
    while True:
        one = [kind for kind in ROUND if kind in kinds]
        random.shuffle(one)
        yield from one


class Deck:
    """Victims of one kind without end: one of each type before a second of any, then the others; then again."""

    def __init__(self, kind: Kind, random: Random) -> None:
        self._kind = kind
        self._random = random
        self._cards: list[str] = []

    def draw(self, is_well: Callable[[str], bool]) -> str:
        """The first that is well; who was passed over comes next time. When nobody is well, the first."""
        victim = next(filter(is_well, self._cards), None)
        if victim is None:
            self._cards += self._shuffled()
            victim = next(filter(is_well, self._cards), self._cards[0])
        self._cards.remove(victim)
        return victim

    def _shuffled(self) -> list[str]:
        random = self._random
        if self._kind == "end_txn":
            return ["link:kafka"]
        if self._kind == "zombie":
            return random.sample(BRIDGES, 2)
        if self._kind == "drain":
            known, first = PROCESSES[: -len(SERVERS)], [_one_of(name, random) for name in ACTORS]
        elif self._kind in ("kill", "pause"):
            known, first = PROCESSES, [_one_of(name, random) for name in TYPES]
        else:
            known, first = LINKS, ["link:nats", "link:kafka", f"link:postgres/ledger.{random.choice(REPLICAS)}"]
            first += [f"link:nats/{_one_of(name, random)}" for name in ACTORS]
        others = [victim for victim in known if victim not in first]
        random.shuffle(first)
        random.shuffle(others)
        return first + others


def _one_of(name: str, random: Random) -> str:
    return f"{name}.{random.choice(REPLICAS)}" if name in ACTORS else name


def _fault(
    kind: Kind, at_s: float, deck: Deck, busy_until: dict[str, float], longest_s: float, random: Random
) -> Fault:
    victim = deck.draw(lambda name: busy_until.get(name, 0.0) <= at_s)
    skew = random.random() ** 2
    for_s = {
        "kill": random.uniform(0.2, 2.0),
        "drain": 0.0,
        "pause": 1.0 + skew * (longest_s - 1.0),
        "zombie": PATIENT_S,
        "cut": 0.5 + skew * min(8.0, longest_s),
        "delay": random.uniform(2.0, min(8.0, longest_s)),
        "hold": 1.0 + skew * min(14.0, longest_s),
        "reset": 0.0,
        "end_txn": random.uniform(4.0, 6.0),
    }[kind]
    amount_s = {"delay": random.uniform(0.02, 0.5), "end_txn": random.uniform(1.0, 16.0)}.get(kind, 0.0)
    direction: Literal["up", "down"] = "up" if random.random() < 0.5 else "down"
    return Fault(at_s, kind, victim, round(for_s, 2), round(amount_s, 2), direction)
