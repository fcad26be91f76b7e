"""Questions: typed, bounded, with a deadline, and visible in discovery."""

import asyncio
import time
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bus.port import Answer, Call, Question, Service
from schemas.errors import (
    AionError,
    DeadlineExceeded,
    Forbidden,
    InputInvalid,
    NoResponders,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from schemas.message import Message


class Ask(Message):
    text: str
    number: int = 0


class Told(Message):
    text: str


ECHO = Question("tester", "echo", Ask, Told)
SERVICE = Service("tester", "1.2.3", "tester-1", "answers tests", {"zone": "a"})


async def echo(ask: Ask, call: Call) -> Told:
    return Told(text=ask.text * 2)


async def test_a_question_is_answered_in_its_own_types(ground: Any) -> None:
    async with ground.bus() as one, ground.bus() as two, one.rpc.serve(SERVICE, [Answer(ECHO, echo)]):
        assert await _ask(two, ECHO, Ask(text="grüß")) == Told(text="grüßgrüß")


async def test_the_call_brings_deadline_and_trace(ground: Any) -> None:
    calls: list[Call] = []

    async def note(ask: Ask, call: Call) -> Told:
        calls.append(call)
        return Told(text="")

    now_ms = time.time_ns() // 1_000_000
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, note)]):
        await _ask(bus, ECHO, Ask(text="a"), timeout_s=3.0)
        await _ask(bus, ECHO, Ask(text="b"), timeout_s=60.0, call=Call(now_ms + 2000, trace))
        await _ask(bus, ECHO, Ask(text="c"), timeout_s=3.0, call=Call(now_ms + 600_000, trace))
    assert [call.traceparent for call in calls] == [None, trace, trace]
    assert calls[1].deadline_ms == now_ms + 2000
    assert abs(calls[0].deadline_ms - (now_ms + 3000)) < 1500
    assert abs(calls[2].deadline_ms - (now_ms + 3000)) < 1500


@pytest.mark.parametrize("kind", [NotFound, Forbidden, InputInvalid, Unavailable, TooManyRequests])
async def test_the_answerers_own_error_arrives_as_it_was_raised(ground: Any, kind: type[AionError]) -> None:
    async def refuse(ask: Ask, call: Call) -> Told:
        raise kind("no task ünknown-7 here")

    async with ground.bus() as one, ground.bus() as two, one.rpc.serve(SERVICE, [Answer(ECHO, refuse)]):
        with pytest.raises(AionError) as raised:
            await _ask(two, ECHO, Ask(text="x"))
    assert type(raised.value) is kind
    assert raised.value.message == "no task ünknown-7 here"


async def test_an_error_says_when_to_come_back(ground: Any) -> None:
    async def refuse(ask: Ask, call: Call) -> Told:
        raise Unavailable("warming up", retry_after_s=2.5)

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, refuse)]):
        with pytest.raises(Unavailable) as raised:
            await _ask(bus, ECHO, Ask(text="x"))
    assert raised.value.retry_after_s == 2.5


async def test_an_answerer_that_breaks_answers_with_an_error_and_goes_on(ground: Any) -> None:
    async def fragile(ask: Ask, call: Call) -> Told:
        if ask.number == 1:
            raise RuntimeError("secret detail")
        return Told(text="fine")

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, fragile)]):
        with pytest.raises(AionError) as raised:
            await _ask(bus, ECHO, Ask(text="x", number=1))
        assert not isinstance(raised.value, DeadlineExceeded | NoResponders)
        assert "secret detail" not in raised.value.message
        assert (await _ask(bus, ECHO, Ask(text="x"))).text == "fine"


async def test_without_an_answerer_it_is_refused_at_once(ground: Any) -> None:
    async with ground.bus() as bus:
        begun = time.monotonic()
        with pytest.raises(NoResponders):
            await _ask(bus, ECHO, Ask(text="x"), timeout_s=10.0)
        assert time.monotonic() - begun < 2


async def test_after_an_answerer_left_nobody_answers(ground: Any) -> None:
    async with ground.bus() as bus:
        async with bus.rpc.serve(SERVICE, [Answer(ECHO, echo)]):
            await _ask(bus, ECHO, Ask(text="x"))
        with pytest.raises(NoResponders):
            await _ask(bus, ECHO, Ask(text="x"))


async def test_a_full_mailbox_refuses_at_once(ground: Any) -> None:
    gate = asyncio.Event()

    async def wait(ask: Ask, call: Call) -> Told:
        await gate.wait()
        return Told(text=ask.text)

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, wait, concurrency=2, mailbox=3)]):
        asking = [asyncio.create_task(_ask(bus, ECHO, Ask(text=str(n)))) for n in range(12)]
        refused, _ = await asyncio.wait(asking, timeout=0.5)
        gate.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
    assert len(refused) == 7
    errors = [error for error in results if isinstance(error, AionError)]
    assert len(errors) == len(refused)
    assert {(type(error), error.http_status, error.retry_after_s) for error in errors} == {(TooManyRequests, 429, 1.0)}
    assert sorted(r.text for r in results if isinstance(r, Told)) == ["0", "1", "2", "3", "4"]


async def test_no_more_than_its_concurrency_run_at_once(ground: Any) -> None:
    running, most = 0, 0

    async def count(ask: Ask, call: Call) -> Told:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0.01)
        running -= 1
        return Told(text="")

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, count, concurrency=3)]):
        await asyncio.gather(*(_ask(bus, ECHO, Ask(text="x")) for _ in range(30)))
    assert most == 3


async def test_a_question_past_its_deadline_is_not_worked_on(ground: Any, eventually: Any) -> None:
    gate = asyncio.Event()
    worked: list[str] = []

    async def work(ask: Ask, call: Call) -> Told:
        worked.append(ask.text)
        await gate.wait()
        return Told(text=ask.text)

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, work, concurrency=1)]):
        slow = asyncio.create_task(_ask(bus, ECHO, Ask(text="slow"), timeout_s=5.0))
        await eventually(lambda: worked)
        with pytest.raises(DeadlineExceeded):
            await _ask(bus, ECHO, Ask(text="late"), timeout_s=0.2)
        gate.set()
        assert (await slow).text == "slow"
        assert (await _ask(bus, ECHO, Ask(text="next"))).text == "next"
    assert worked == ["slow", "next"]


async def test_a_deadline_that_passed_is_refused_without_asking(ground: Any) -> None:
    worked: list[str] = []

    async def work(ask: Ask, call: Call) -> Told:
        worked.append(ask.text)
        return Told(text="")

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, work)]):
        with pytest.raises(DeadlineExceeded):
            await _ask(bus, ECHO, Ask(text="late"), call=Call(time.time_ns() // 1_000_000 - 10))
        await _ask(bus, ECHO, Ask(text="good"))
    assert worked == ["good"]


async def test_a_slow_answer_runs_out_of_time(ground: Any) -> None:
    async def never(ask: Ask, call: Call) -> Told:
        await asyncio.sleep(30)
        return Told(text="")

    async with ground.bus() as bus, bus.rpc.serve(SERVICE, [Answer(ECHO, never)]):
        with pytest.raises(DeadlineExceeded):
            await _ask(bus, ECHO, Ask(text="x"), timeout_s=0.2)


async def test_instances_of_one_actor_share_the_questions(ground: Any) -> None:
    def named(name: str) -> Any:
        async def answer(ask: Ask, call: Call) -> Told:
            return Told(text=name)

        return Answer(ECHO, answer)

    async with (
        ground.bus() as one,
        ground.bus() as two,
        one.rpc.serve(SERVICE, [named("1")]),
        two.rpc.serve(_instance("tester-2"), [named("2")]),
    ):
        told = await asyncio.gather(*(_ask(one, ECHO, Ask(text="x")) for _ in range(60)))
    counts = {name: sum(reply.text == name for reply in told) for name in ("1", "2")}
    assert sum(counts.values()) == 60
    assert all(counts.values()), counts


async def test_discovery_shows_every_instance_with_its_data(ground: Any) -> None:
    figures = {"free_slots": 3, "draining": False}
    other = Service("tester", "1.2.3", "tester-2", metadata={"zone": "b"}, status=lambda: figures)
    async with ground.bus() as one, ground.bus() as two:
        async with one.rpc.serve(SERVICE, [Answer(ECHO, echo)]), two.rpc.serve(other):
            seen = {service.instance: service for service in await one.rpc.discover()}
            figures["free_slots"] = 1
            again = {service.instance: service for service in await two.rpc.discover()}
        after = await one.rpc.discover()
    assert set(seen) == {"tester-1", "tester-2"}
    assert (seen["tester-1"].name, seen["tester-1"].version) == ("tester", "1.2.3")
    assert dict(seen["tester-1"].metadata)["zone"] == "a"
    assert dict(seen["tester-2"].metadata)["zone"] == "b"
    assert dict(seen["tester-2"].data) == {"free_slots": 3, "draining": False}
    assert again["tester-2"].data["free_slots"] == 1
    assert list(after) == []


async def test_leaving_finishes_what_was_taken_and_takes_no_more(ground: Any, eventually: Any) -> None:
    gate, worked = asyncio.Event(), []

    async def work(ask: Ask, call: Call) -> Told:
        worked.append(ask.text)
        await gate.wait()
        return Told(text=ask.text)

    @asynccontextmanager
    async def served(bus: Any) -> Any:
        async with bus.rpc.serve(SERVICE, [Answer(ECHO, work, concurrency=1)]):
            yield

    async with ground.bus() as one, ground.bus() as two:
        stop, up = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            async with served(one):
                up.set()
                await stop.wait()

        serving = asyncio.create_task(serve())
        await up.wait()
        asking = [asyncio.create_task(_ask(two, ECHO, Ask(text=str(n)))) for n in range(2)]
        await eventually(lambda: worked)
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.sleep(0.2)
        assert not serving.done()
        with pytest.raises(NoResponders):
            await _ask(two, ECHO, Ask(text="late"))
        gate.set()
        assert sorted(reply.text for reply in await asyncio.gather(*asking)) == ["0", "1"]
        async with asyncio.timeout(3):
            await serving


async def test_who_leaves_is_found_until_all_it_took_is_answered(ground: Any, eventually: Any) -> None:
    gate, stop, worked = asyncio.Event(), asyncio.Event(), []

    async def work(ask: Ask, call: Call) -> Told:
        worked.append(ask.text)
        await gate.wait()
        return Told(text=ask.text)

    async def serve(bus: Any) -> None:
        async with bus.rpc.serve(SERVICE, [Answer(ECHO, work)]):
            await stop.wait()

    async with ground.bus() as one, ground.bus() as two:
        serving = asyncio.create_task(serve(one))
        await asyncio.sleep(0.1)
        asking = asyncio.create_task(_ask(two, ECHO, Ask(text="x")))
        await eventually(lambda: worked)
        stop.set()
        await asyncio.sleep(0.1)
        assert [service.instance for service in await two.rpc.discover()] == ["tester-1"]
        gate.set()
        assert (await asking).text == "x"
        await serving
        assert list(await two.rpc.discover()) == []


async def test_no_question_is_lost_while_one_of_two_instances_leaves(ground: Any) -> None:
    async def ask_on(bus: Any, stop: asyncio.Event) -> int:
        count = 0
        while not stop.is_set():
            await _ask(bus, ECHO, Ask(text="x"), timeout_s=3.0)
            count += 1
        return count

    async with ground.bus() as one, ground.bus() as two, one.rpc.serve(SERVICE, [Answer(ECHO, echo)]):
        stop = asyncio.Event()
        asking = [asyncio.create_task(ask_on(one, stop)) for _ in range(20)]
        for number in range(10):
            async with two.rpc.serve(_instance(f"tester-{number}"), [Answer(ECHO, echo)]):
                await asyncio.sleep(0.03)
        stop.set()
        counts = await asyncio.gather(*asking)
    assert sum(counts) > 100


async def test_an_answerer_that_dies_is_not_waited_for_past_the_deadline(ground: Any) -> None:
    asked = asyncio.Event()

    async def work(ask: Ask, call: Call) -> Told:
        asked.set()
        await asyncio.sleep(1.5)
        return Told(text="too late")

    async with ground.bus() as survivor, ground.bus() as victim, victim.rpc.serve(SERVICE, [Answer(ECHO, work)]):
        asking = asyncio.create_task(_ask(survivor, ECHO, Ask(text="x"), timeout_s=0.5))
        await asked.wait()
        await ground.kill(victim)
        with pytest.raises(DeadlineExceeded):
            await asking
        with pytest.raises(NoResponders):
            await _ask(survivor, ECHO, Ask(text="x"), timeout_s=2.0)


def _instance(name: str) -> Service:
    return Service("tester", "1.2.3", name)


async def _ask(bus: Any, question: Any, request: Ask, **options: Any) -> Told:
    async with asyncio.timeout(8):
        reply = await bus.rpc.ask(question, request, **options)
    assert isinstance(reply, Told)
    return reply
