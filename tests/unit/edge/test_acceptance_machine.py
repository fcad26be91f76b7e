"""Idempotent acceptance against a model, in virtual time: one key, one task, whatever happens on the way."""

import asyncio
import json
from collections.abc import Coroutine
from random import Random
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulation.loop import VirtualLoop

from bus.memory import MemoryBus, MemoryServer
from edge.tasks.acceptance import Taken, Times, accept, accepted_event, meet
from edge.tasks.cancel import Mark, cancelled_event
from edge.tasks.request import read_request
from schemas.errors import Conflict, KeyReused, LogFull, Unavailable
from schemas.events import Accepted, Ended
from schemas.ids import EventId, TaskId, TenantId, keyed_task_id, uuid7

T = TypeVar("T")
TENANT = TenantId("acme")
KEYS = ("one", "two", "three")
BODIES = ("hello", "other")
KEEP_S = 100.0
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


class Known(NamedTuple):
    """What the model remembers of a key: whose words made it a task, when, and how it ended."""

    event: Accepted
    sequence: int
    at_s: float
    ended: Ended | None = None


class AcceptanceMachine(RuleBasedStateMachine):
    """`known` maps each key to the one task that it names while the log keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop(Random(1))
        self.rng = Random(2)
        self.server, self.edges = self.run(self._serve())
        self.known: dict[str, Known] = {}

    async def _serve(self) -> tuple[MemoryServer, tuple[MemoryBus, MemoryBus]]:
        server = MemoryServer(max_age_s=KEEP_S)
        return server, (MemoryBus(server), MemoryBus(server))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(coroutine)

    def event(self, key: str, body: str) -> Accepted:
        """What an edge makes of a submission: the task by its key, the event by chance."""
        request = read_request(json.dumps({"intent": "greet", "params": {"text": body}}).encode(), 32)
        event_id = EventId(uuid7(1, self.rng.randbytes(10)))
        return accepted_event(request, TENANT, keyed_task_id(TENANT, key), event_id, TRACE, Times(1000, 60))

    async def submit(self, edge: int, event: Accepted) -> Taken:
        return await accept(self.edges[edge].log, event, keyed=True, within_s=5.0)

    @rule(edge=st.integers(0, 1), key=st.sampled_from(KEYS), body=st.sampled_from(BODIES), lost=st.integers(0, 2))
    def hand_in(self, edge: int, key: str, body: str, lost: int) -> None:
        """Also while acknowledgements are lost: the answer is the same, only later."""
        event = self.event(key, body)
        self.server.lose_next_ack(lost)
        known = self.known.get(key)
        if known is not None and known.event.fingerprint != event.fingerprint:
            with pytest.raises(KeyReused):
                self.run(self.submit(edge, event))
        else:
            taken = self.run(self.submit(edge, event))
            assert taken.task_id == event.task_id
            assert taken.replayed == (known is not None)
            assert taken.ended == (known.ended if known else None)
            if known is None:
                self._learn(key, event)
        self.server.lose_next_ack(-self.server._acks_to_lose)

    @rule(key=st.sampled_from(KEYS), bodies=st.tuples(st.sampled_from(BODIES), st.sampled_from(BODIES)))
    def hand_in_twice_at_once(self, key: str, bodies: tuple[str, str]) -> None:
        """Two edges, one key: both are told of one task, or one of them that the key is taken."""
        events = [self.event(key, body) for body in bodies]

        async def both() -> list[Taken | BaseException]:
            submissions = (self.submit(number, event) for number, event in enumerate(events))
            return await asyncio.gather(*submissions, return_exceptions=True)

        results = self.run(both())
        known = self.known.get(key)
        fresh = [e for e, r in zip(events, results, strict=True) if isinstance(r, Taken) and not r.replayed]
        assert len(fresh) == (1 if known is None else 0)
        if known is None:
            self._learn(key, fresh[0])
        for event, result in zip(events, results, strict=True):
            if event.fingerprint == self.known[key].event.fingerprint:
                assert isinstance(result, Taken)
            else:
                assert isinstance(result, KeyReused)

    @rule(key=st.sampled_from(KEYS), body=st.sampled_from(BODIES))
    def meet_without_asking_for_more(self, key: str, body: str) -> None:
        """`meet` only looks."""
        event, known = self.event(key, body), self.known.get(key)
        looking = meet(self.edges[0].log, event, keyed=False, within_s=1.0)
        if known is None:
            assert self.run(looking) is None
        elif known.event.fingerprint == event.fingerprint:
            assert self.run(looking) == Taken(event.task_id, True, known.event.at_ms, known.ended)
        else:
            with pytest.raises(Conflict):
                self.run(looking)

    @precondition(lambda self: any(known.ended is None for known in self.known.values()))
    @rule(data=st.data())
    def a_task_ends(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([key for key, known in self.known.items() if known.ended is None]))
        known = self.known[key]
        ended = cancelled_event([known.event], Mark(EventId(uuid7(2, self.rng.randbytes(10))), 2000))
        self.run(self.edges[1].log.append(ended, after=known.sequence))
        self.known[key] = known._replace(ended=ended)

    @rule(key=st.sampled_from(KEYS))
    def the_log_is_full(self, key: str) -> None:
        """Refused for certain: nothing new is stored, and what is known is still answered."""
        event = self.event(key, BODIES[0])
        room, self.server.log.max_bytes = self.server.log.max_bytes, 0
        try:
            if key not in self.known:
                with pytest.raises(LogFull):
                    self.run(self.submit(0, event))
            elif self.known[key].event.fingerprint == event.fingerprint:
                assert self.run(self.submit(0, event)).replayed
        finally:
            self.server.log.max_bytes = room

    @rule(edge=st.integers(0, 1), key=st.sampled_from(KEYS), body=st.sampled_from(BODIES))
    def the_edge_loses_the_bus(self, edge: int, key: str, body: str) -> None:
        """No answer that says yes, and nothing is stored."""
        self.edges[edge].lose()
        with pytest.raises(Unavailable):
            self.run(self.submit(edge, self.event(key, body)))
        self.run(self._restore(edge))

    async def _restore(self, edge: int) -> None:
        self.edges[edge].restore()

    @precondition(lambda self: self.known)
    @rule()
    def the_window_passes(self) -> None:
        """What the log forgot is new."""
        self.run(asyncio.sleep(KEEP_S + 1))
        self.known.clear()

    @invariant()
    def each_key_is_one_task_in_the_log(self) -> None:
        for key in KEYS:
            known = self._unless_forgotten(key)
            entries = self.run(self.edges[0].log.events(TENANT, keyed_task_id(TENANT, key)))
            wanted = [] if known is None else [known.event, *([known.ended] if known.ended else [])]
            assert [entry.event() for entry in entries] == wanted

    def teardown(self) -> None:
        assert self.loop.finish() == []
        self.loop.close()

    def _learn(self, key: str, event: Accepted) -> None:
        last = self.run(self.edges[0].log.last(TENANT, TaskId(event.task_id)))
        assert last is not None
        self.known[key] = Known(event, last.sequence, self.loop.time())

    def _unless_forgotten(self, key: str) -> Known | None:
        """Time goes by in every step; a machine that ran for the whole window starts over."""
        known = self.known.get(key)
        if known is not None and self.loop.time() - known.at_s > KEEP_S - 20:
            self.run(asyncio.sleep(KEEP_S + 1))
            self.known.clear()
            return None
        return known


AcceptanceMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25)
TestAcceptance = AcceptanceMachine.TestCase


def test_a_task_whose_beginning_left_the_log_names_no_other_request() -> None:
    """Its end is still there and guards the id; what it was asked in is not, so nothing may be said of it."""
    machine = AcceptanceMachine()
    machine.hand_in(0, KEYS[0], BODIES[0], 0)
    machine.run(asyncio.sleep(KEEP_S * 0.6))
    known = machine.known[KEYS[0]]
    ended = cancelled_event([known.event], Mark(EventId(uuid7(2, bytes(10))), 2000))
    machine.run(machine.edges[1].log.append(ended, after=known.sequence))
    machine.run(asyncio.sleep(KEEP_S * 0.6))
    with pytest.raises(Unavailable, match="just leaving the log"):
        machine.run(machine.submit(0, machine.event(KEYS[0], BODIES[0])))
    machine.teardown()
