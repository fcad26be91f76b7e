"""Which engine answers a task: a pure function of the task and of the engines alive."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.events import Brief
from schemas.registry import EngineAdvert
from schemas.result import Engine
from schemas.task import Privacy

MAX_REMEMBERED = 1024
"""Decisions: clients choose the names that are in them."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine over all its live instances."""

    name: str
    route: Literal["local", "api"]
    intents: frozenset[str]
    free_slots: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The choice and the frozen order of what may be tried after it."""

    engine: str
    fallbacks: tuple[str, ...]
    shown: Engine


def engines_of(adverts: Iterable[EngineAdvert]) -> tuple[EngineFacts, ...]:
    """Engines by name, their live and not draining instances added up."""
    found: dict[str, EngineFacts] = {}
    for advert in adverts:
        if advert.draining:
            continue
        known = found.get(advert.engine)
        found[advert.engine] = EngineFacts(
            name=advert.engine,
            route=advert.route,
            intents=frozenset(advert.intents) | (known.intents if known else frozenset()),
            free_slots=advert.free_slots + (known.free_slots if known else 0),
        )
    return tuple(found[name] for name in sorted(found))


def _allowed(brief: Brief, engine: EngineFacts) -> bool:
    if brief.intent not in engine.intents:
        return False
    return engine.route == "local" or brief.privacy is not Privacy.LOCAL_ONLY


def decide(brief: Brief, engines: Sequence[EngineFacts]) -> Decision | None:
    """The chosen engine and its fallbacks, None while no engine that may answer is alive.

    Order: the preferred engine, then local before cloud, then the most free slots, then the name, so that equal
    inputs give equal answers. The set is frozen here: retries only shrink it, so `local-only` holds for ever.
    """
    eligible = [engine for engine in engines if _allowed(brief, engine)]
    if not eligible:
        return None
    ranked = sorted(eligible, key=lambda engine: _rank(brief, engine))
    chosen, rest = ranked[0], ranked[1:]
    shown = Engine(route=chosen.route, chosen_by="ai-router", reason=_reason(brief, ranked))
    return Decision(chosen.name, tuple(engine.name for engine in rest), shown)


class Decisions:
    """`decide` over engines that do not change: tasks that have in common what it looks at are decided once."""

    def __init__(self, engines: Sequence[EngineFacts]) -> None:
        self.engines = engines
        self._made: dict[tuple[str, Privacy, str | None], Decision | None] = {}

    def of(self, brief: Brief) -> Decision | None:
        """See `decide`."""
        key = (brief.intent, brief.privacy, brief.preferred_engine)
        try:
            return self._made[key]
        except KeyError:
            if len(self._made) >= MAX_REMEMBERED:
                self._made.clear()
            made = self._made[key] = decide(brief, self.engines)
            return made


def _rank(brief: Brief, engine: EngineFacts) -> tuple[bool, bool, int, str]:
    return (engine.name != brief.preferred_engine, engine.route != "local", -engine.free_slots, engine.name)


def _reason(brief: Brief, ranked: Sequence[EngineFacts]) -> str:
    chosen = ranked[0]
    if chosen.name == brief.preferred_engine:
        return f"preferred_engine: {chosen.name}"
    if len(ranked) == 1:
        return f"only_eligible: {chosen.name}"
    if any(engine.route != chosen.route for engine in ranked[1:]):
        return f"local_first: {chosen.name} of {len(ranked)} eligible"
    return f"most_free_slots: {chosen.name} of {len(ranked)} eligible"


def next_attempt(brief: Brief, fallbacks: Sequence[str], engines: Sequence[EngineFacts]) -> Decision | None:
    """The first frozen fallback that is alive, None while none is; what comes before it is not tried again."""
    alive = {engine.name: engine for engine in engines if _allowed(brief, engine)}
    for number, name in enumerate(fallbacks):
        engine = alive.get(name)
        if engine is not None:
            shown = Engine(route=engine.route, chosen_by="ai-router", reason=f"fallback: {name}")
            return Decision(name, tuple(fallbacks[number + 1 :]), shown)
    return None
