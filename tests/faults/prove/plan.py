"""What the clients will do: a pure function of a seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Then = Literal["nothing", "get", "stream", "cancel", "again", "again_altered", "spy"]
WEIGHTS: Mapping[Then, int] = {
    "nothing": 40, "get": 28, "again": 12, "stream": 6, "cancel": 6, "again_altered": 4, "spy": 4,
}  # fmt: skip
PROBES, PROBES_A_S = 100, 50
TENANTS = ("acme", "beta", "cyan")
SENTENCE = "The bus carries tasks. Each has one end. What is accepted is not lost. Machines fail and start again. "


@dataclass(frozen=True)
class Intention:
    """One task and what its client does once it is accepted. `wait_s` 0: the client does not wait for the result."""

    at_s: float
    ref: str
    tenant_id: str
    body: dict[str, Any]
    wait_s: int
    by_task_id: bool
    edge: int
    then: Then
    pause_s: float

    def altered(self) -> dict[str, Any]:
        """Another body for the same reference."""
        metadata = {**self.body["metadata"], "variant": "b"}
        return {**self.body, "params": {"text": "Something else entirely."}, "metadata": metadata}


def canaries(seed: int) -> dict[str, str]:
    """A text for each tenant that no other may ever see."""
    random = Random(f"canaries {seed}")
    return {tenant_id: f"canary{random.getrandbits(128):032x}" for tenant_id in TENANTS}


def plan(seed: int, *, tasks: int, per_s: float) -> Sequence[Intention]:
    """Arrivals of a Poisson process: nobody waits for anybody's answer."""
    return list(_intentions(seed, tasks, per_s))


def probes(seed: int) -> Sequence[Intention]:
    """Tasks for an installation that is well: each client waits for its answer."""
    texts = canaries(seed)
    return [_probe(seed, number, texts) for number in range(PROBES)]


def _probe(seed: int, number: int, texts: Mapping[str, str]) -> Intention:
    tenant_id, ref = TENANTS[number % len(TENANTS)], f"probe{seed}-{number}"
    body = {
        "intent": "summarize",
        "params": {"text": f"{texts[tenant_id]} {SENTENCE}"},
        "sla": {"timeout_s": 30},
        "metadata": {"ref": ref, "variant": "a"},
    }
    at_s, edge = number / PROBES_A_S, number % 2
    return Intention(at_s, ref, tenant_id, body, wait_s=5, by_task_id=False, edge=edge, then="nothing", pause_s=0.0)


def _intentions(seed: int, tasks: int, per_s: float) -> Iterator[Intention]:
    random = Random(f"plan {seed}")
    texts = canaries(seed)
    at_s = 0.0
    for number in range(tasks):
        at_s += random.expovariate(per_s)
        tenant_id = random.choice(TENANTS)
        ref = f"p{seed}-{number}"
        by_task_id = random.random() < 0.1
        timeout_s = random.choice((0.001, 0.5, 2.0)) if random.random() < 0.08 else random.choice((10, 30, 30, 30))
        text = f"{texts[tenant_id]} {SENTENCE * random.choice((1, 2, 5, 20))}"
        body: dict[str, Any] = {
            "intent": "summarize",
            "params": {"text": text},
            "priority": random.choice(("high", "normal", "low")),
            "sla": {"timeout_s": timeout_s},
            "metadata": {"ref": ref, "variant": "a"},
        }
        if by_task_id:
            body["task_id"] = ref
        yield Intention(
            at_s,
            ref,
            tenant_id,
            body,
            wait_s=random.choice((0, 0, 2, 5)),
            by_task_id=by_task_id,
            edge=random.randrange(2),
            then=random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0],
            pause_s=random.choice((0.0, 0.0, 0.2, 3.0)),
        )
