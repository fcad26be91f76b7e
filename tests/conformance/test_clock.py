"""One clock for all of a bus, whatever the machines' own clocks say: the server's, which stamps the log."""

import time
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from bus.clock import ServerClock
from bus.port import Answer, Call, Question, Service
from schemas.message import Message

APART_S = 300


class Ask(Message):
    text: str


ECHO = Question("tester", "echo", Ask, Ask)


@pytest.fixture
def wrong_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other connection is made on a machine five minutes ahead, the others on one five minutes behind."""
    sides = cycle((APART_S, -APART_S))

    def made() -> ServerClock:
        ahead_ns = next(sides) * 10**9
        return ServerClock(partial(lambda ahead: time.time_ns() + ahead, ahead_ns))

    monkeypatch.setattr("bus.nats.connection.ServerClock", made)


async def test_two_machines_with_clocks_apart_have_the_log_s_time(ground: Any, given: Any, wrong_clocks: None) -> None:
    async with ground.bus() as one, ground.bus() as other:
        task_id = given.task_id()
        await one.log.append(given.accepted(task_id), after=0)
        entry = await other.log.last(given.tenant_id, task_id)
        times_ms = (one.now_ms(), other.now_ms(), entry.at_ns // 1_000_000)
    assert max(times_ms) - min(times_ms) < 1000


async def test_a_question_between_clocks_apart_has_the_time_it_was_given(ground: Any, wrong_clocks: None) -> None:
    left_s: list[float] = []

    async with ground.bus() as asking, ground.bus() as answering:

        async def echo(ask: Ask, call: Call) -> Ask:
            left_s.append(call.deadline_ms / 1000 - answering.now_ms() / 1000)
            return ask

        async with answering.rpc.serve(Service("tester", "1", "one"), [Answer(ECHO, echo)]):
            for bus in (asking, answering):
                assert (await bus.rpc.ask(ECHO, Ask(text="x"), timeout_s=2.0)).text == "x"
    assert len(left_s) == 2
    assert all(0 < left <= 2.1 for left in left_s)
