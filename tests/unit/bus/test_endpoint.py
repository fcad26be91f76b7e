"""A served question: who answers it, and what its asker hears when that fails."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bus.clock import ServerClock
from bus.codec import encode_call
from bus.nats.endpoint import Endpoint
from bus.nats.message import Message as Delivered
from bus.nats.message import decode_headers
from bus.port import Answer, Call, Question
from schemas.errors import PayloadTooLarge
from schemas.message import Message, decode


class Ask(Message):
    number: int


ECHO = Question("tester", "echo", Ask, Ask)
CALL = Call(deadline_ms=1 << 43)


class Served:
    """An endpoint over a connection that keeps what was sent: per reply subject the number, or the error's code."""

    congested = False

    def __init__(self, handler: Callable[[Ask, Call], Awaitable[Ask]], concurrency: int = 4, mailbox: int = 16) -> None:
        self.heard: dict[str, int | str] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.limit_bytes = 1 << 20
        self.clock = ServerClock()
        answer = Answer(ECHO, handler, concurrency=concurrency, mailbox=mailbox)
        self.endpoint = Endpoint(self, answer, self._spawn)  # type: ignore[arg-type]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def post(self, subject: str, payload: bytes, *, head: bytes = b"") -> None:
        if len(payload) > self.limit_bytes:
            raise PayloadTooLarge("too much")
        assert subject not in self.heard
        self.heard[subject] = decode_headers(head)["Aion-Code"] if head else decode(payload, Ask).number

    def ask(self, count: int) -> None:
        for number in range(count):
            self.endpoint.take(Delivered("s", f"r{number}", encode_call(Ask(number=number), CALL)))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_questions_that_came_together_and_need_not_wait_are_answered_by_one_task() -> None:
    async def answer(ask: Ask, _call: Call) -> Ask:
        return ask

    served = Served(answer)
    served.ask(16)
    await settle()
    assert served.heard == {f"r{number}": number for number in range(16)}
    assert len(served.tasks) == 1


async def test_a_handler_that_waits_holds_up_nobody_while_places_are_free() -> None:
    gate = asyncio.Event()

    async def answer(ask: Ask, _call: Call) -> Ask:
        if ask.number % 3 == 0:
            await gate.wait()
        return ask

    served = Served(answer, concurrency=4)
    served.ask(10)
    await settle()
    assert set(served.heard.values()) == {1, 2, 4, 5, 7, 8}
    assert served.endpoint.stats("g", {})["data"] == {"in_flight": 4}
    gate.set()
    await settle()
    assert len(served.heard) == 10


async def test_what_waits_is_answered_when_a_place_becomes_free() -> None:
    gates = [asyncio.Event() for _ in range(6)]
    running: list[int] = []

    async def answer(ask: Ask, _call: Call) -> Ask:
        running.append(ask.number)
        await gates[ask.number].wait()
        return ask

    served = Served(answer, concurrency=2)
    served.ask(6)
    for number in range(6):
        await settle()
        assert running == list(range(min(6, number + 2)))
        gates[number].set()
    await settle()
    assert len(served.heard) == 6


async def test_a_full_mailbox_refuses_the_rest_at_once() -> None:
    async def answer(_ask: Ask, _call: Call) -> Ask:
        await asyncio.Event().wait()
        raise AssertionError

    served = Served(answer, concurrency=2, mailbox=3)
    served.ask(8)
    assert served.heard == dict.fromkeys(("r5", "r6", "r7"), "too_many_requests")
    for task in served.tasks:
        task.cancel()


async def test_a_handler_whose_own_work_was_cancelled_is_answered_with_an_error_and_the_next_is_taken() -> None:
    async def answer(ask: Ask, _call: Call) -> Ask:
        if ask.number == 0:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return ask

    served = Served(answer, concurrency=1)
    served.ask(2)
    await settle()
    assert served.heard == {"r0": "internal", "r1": 1}


async def test_an_answer_that_is_too_large_to_send_is_an_error_and_not_silence() -> None:
    async def answer(ask: Ask, _call: Call) -> Ask:
        return ask

    served = Served(answer)
    served.limit_bytes = 5
    served.ask(1)
    await settle()
    assert served.heard == {"r0": "payload_too_large"}
