from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import MAX_REMEMBERED, Decisions, EngineFacts, decide, engines_of, next_attempt
from schemas.events import Brief
from schemas.registry import EngineAdvert
from schemas.task import Priority, Privacy


def brief(**changes: Any) -> Brief:
    base = {
        "intent": "summarize",
        "priority": Priority.NORMAL,
        "privacy": Privacy.LOCAL_ONLY,
        "accepted_at_ms": 0,
        "deadline_ms": 1000,
    }
    return Brief(**{**base, **changes})


def engine(name: str, route: str = "local", free: int = 1, intents: tuple[str, ...] = ("summarize",)) -> EngineFacts:
    return EngineFacts(name, route, frozenset(intents), free)  # type: ignore[arg-type]


def advert(engine_name: str, instance: str, *, free: int, draining: bool = False) -> EngineAdvert:
    return EngineAdvert(
        engine=engine_name,
        instance=instance,
        route="local",
        intents=("summarize",),
        slots=8,
        free_slots=free,
        draining=draining,
    )


def test_no_engine_alive_is_no_decision() -> None:
    assert decide(brief(), ()) is None


def test_an_engine_of_another_intent_is_never_chosen() -> None:
    assert decide(brief(), (engine("wasm", intents=("translate",)),)) is None


def test_local_only_never_sees_a_cloud_engine_not_even_as_fallback() -> None:
    decision = decide(brief(), (engine("openai", "api", 99), engine("wasm")))
    assert decision is not None
    assert (decision.engine, decision.fallbacks) == ("wasm", ())


def test_allow_api_prefers_local_and_freezes_the_cloud_as_fallback() -> None:
    decision = decide(brief(privacy=Privacy.ALLOW_API), (engine("openai", "api", 99), engine("wasm")))
    assert decision is not None
    assert (decision.engine, decision.fallbacks) == ("wasm", ("openai",))
    assert decision.shown.reason.startswith("local_first")


def test_the_preferred_engine_wins_when_it_is_allowed() -> None:
    engines = (engine("openai", "api"), engine("wasm"))
    allowed = decide(brief(privacy=Privacy.HYBRID, preferred_engine="openai"), engines)
    forbidden = decide(brief(preferred_engine="openai"), engines)
    assert allowed is not None
    assert forbidden is not None
    assert (allowed.engine, allowed.shown.route) == ("openai", "api")
    assert forbidden.engine == "wasm"


def test_more_free_slots_win_and_names_break_ties() -> None:
    busy = decide(brief(), (engine("a", free=1), engine("b", free=5)))
    tied = decide(brief(), (engine("b", free=5), engine("a", free=5)))
    assert busy is not None
    assert tied is not None
    assert (busy.engine, tied.engine) == ("b", "a")


def test_instances_of_one_engine_add_up_and_draining_ones_do_not_count() -> None:
    facts = engines_of(
        [advert("wasm", "1", free=2), advert("wasm", "2", free=3), advert("wasm", "3", free=8, draining=True)]
    )
    assert [(fact.name, fact.free_slots) for fact in facts] == [("wasm", 5)]


def test_a_failed_attempt_takes_the_next_frozen_fallback_that_lives() -> None:
    decision = next_attempt(brief(), ("dead", "b", "c"), (engine("b"), engine("c"), engine("newcomer")))
    assert decision is not None
    assert (decision.engine, decision.fallbacks) == ("b", ("c",))


def test_no_live_fallback_is_no_decision() -> None:
    assert next_attempt(brief(), ("dead",), (engine("newcomer"),)) is None


@given(
    privacy=st.sampled_from(list(Privacy)),
    preferred=st.none() | st.sampled_from(["e0", "e1", "e2"]),
    engines=st.lists(st.tuples(st.sampled_from(["local", "api"]), st.integers(0, 9), st.booleans()), max_size=6),
)
def test_retries_only_ever_shrink_the_eligible_set(
    privacy: Privacy, preferred: str | None, engines: list[tuple[str, int, bool]]
) -> None:
    facts = [
        engine(f"e{number}", route, free, ("summarize",) if knows else ("other",))
        for number, (route, free, knows) in enumerate(engines)
    ]
    task = brief(privacy=privacy, preferred_engine=preferred)
    decision = decide(task, facts)
    tried: list[str] = []
    while decision is not None:
        assert decision.engine not in tried
        tried.append(decision.engine)
        chosen = next(fact for fact in facts if fact.name == decision.engine)
        assert privacy is not Privacy.LOCAL_ONLY or chosen.route == "local"
        decision = next_attempt(task, decision.fallbacks, facts)
    eligible = {f.name for f in facts if "summarize" in f.intents and (privacy != "local-only" or f.route == "local")}
    assert set(tried) == eligible


@pytest.mark.parametrize("privacy", list(Privacy))
def test_equal_inputs_give_equal_decisions_whatever_their_order(privacy: Privacy) -> None:
    engines = [engine("a", "api", 3), engine("b", "local", 3), engine("c", "local", 3)]
    assert decide(brief(privacy=privacy), engines) == decide(brief(privacy=privacy), list(reversed(engines)))


BRIEFS = st.builds(
    brief,
    intent=st.sampled_from(["summarize", "translate", "sing"]),
    privacy=st.sampled_from(Privacy),
    priority=st.sampled_from(Priority),
    preferred_engine=st.sampled_from([None, "a", "b", "gone"]),
    budget_nanousd=st.none() | st.integers(0, 10),
    p95_ms=st.none() | st.integers(1, 10),
    accepted_at_ms=st.integers(0, 10),
    deadline_ms=st.integers(0, 10),
)
ENGINES = st.lists(
    st.builds(
        engine,
        name=st.sampled_from("abcd"),
        route=st.sampled_from(["local", "api"]),
        free=st.integers(0, 3),
        intents=st.sampled_from([("summarize",), ("translate",), ("summarize", "translate")]),
    ),
    max_size=4,
    unique_by=lambda one: one.name,
)


@given(st.lists(BRIEFS, max_size=8), ENGINES)
def test_what_is_remembered_is_what_would_be_decided_whatever_the_tasks_differ_in(
    briefs: list[Brief], engines: list[EngineFacts]
) -> None:
    """A decision that looks at another field of a task must be remembered by it: `local-only` hangs on this."""
    decisions = Decisions(tuple(engines))
    for one in briefs:
        assert decisions.of(one) == decide(one, engines)


def test_no_more_is_remembered_than_a_bound_however_many_engines_clients_invent() -> None:
    decisions = Decisions((engine("wasm"),))
    for number in range(3 * MAX_REMEMBERED):
        decisions.of(brief(preferred_engine=f"e{number}"))
        assert len(decisions._made) <= MAX_REMEMBERED
