"""The twin on a loop whose time is virtual: hours pass in milliseconds, the same way each time."""

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from bus.memory import MemoryBus, MemoryServer
from bus.port import Answer, Call, Question, Service
from bus.subjects import ENGINES, accepted
from schemas.errors import DeadlineExceeded
from schemas.events import Accepted
from schemas.message import Message, changed
from schemas.task import Priority

T = TypeVar("T")
ROUTERS = accepted(Priority.HIGH)
CURSOR = replace(accepted(Priority.HIGH), ack_wait_s=10.0)


class _Jump(selectors.SelectSelector):
    """Waits for nothing: the time that would have been waited is simply over."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _fresh() -> tuple[MemoryServer, MemoryBus, MemoryBus]:
    server = MemoryServer(lambda: round(asyncio.get_running_loop().time() * 1e9))
    return server, MemoryBus(server), MemoryBus(server)


def test_a_dead_takers_delivery_comes_again_after_its_ack_wait(accepted: Accepted) -> None:
    async def scene() -> tuple[float, int]:
        _, survivor, victim = _fresh()
        await survivor.log.append(accepted, after=0)
        async with victim.queue.take(CURSOR, slots=1) as dying, survivor.queue.take(CURSOR, slots=1) as taker:
            await dying.get()
            await asyncio.sleep(60)  # its progress keeps it
            victim.kill()
            begun = _now_s()
            delivery = await taker.get()
            await delivery.done()
            return _now_s() - begun, delivery.delivered

    waited_s, delivered = _run(scene())
    assert delivered == 2
    assert 10.0 * 2 / 3 - 1e-3 <= waited_s <= 10.0 + 1e-3


def test_what_a_stopped_router_holds_is_routed_by_another_within_two_seconds(accepted: Accepted) -> None:
    async def scene() -> float:
        _, survivor, victim = _fresh()
        await survivor.log.append(accepted, after=0)
        async with victim.queue.take(ROUTERS, slots=1) as dying, survivor.queue.take(ROUTERS, slots=1) as taker:
            await dying.get()
            victim.kill()
            begun = _now_s()
            await (await taker.get()).done()
            return _now_s() - begun

    assert _run(scene()) <= 2.0 + 1e-3


def test_a_delay_is_kept_to_the_moment(accepted: Accepted) -> None:
    async def scene() -> float:
        _, bus, _ = _fresh()
        await bus.log.append(accepted, after=0)
        async with bus.queue.take(CURSOR, slots=1) as taker:
            await (await taker.get()).give_back(45.0)
            await (await taker.get()).done()
            return _now_s()

    assert _run(scene()) == pytest.approx(45.0)


def test_an_advert_that_is_not_renewed_disappears_after_its_ttl() -> None:
    async def scene() -> list[tuple[float, bytes | None]]:
        _, bus, _ = _fresh()
        told: list[tuple[float, bytes | None]] = []
        async with bus.kv.view(ENGINES, lambda _, value: told.append((_now_s(), value))) as view:
            await bus.kv.put(ENGINES, "wasm.i1", b"1", ttl_s=30)
            await asyncio.sleep(20)
            await bus.kv.put(ENGINES, "wasm.i1", b"2", ttl_s=30)
            await asyncio.sleep(29)
            assert dict(view) == {"wasm.i1": b"2"}
            await asyncio.sleep(2)
            assert dict(view) == {}
        return told

    times_s, values = zip(*_run(scene()), strict=True)
    assert times_s == pytest.approx((0.0, 20.0, 50.0))
    assert values == (b"1", b"2", None)


def test_the_window_slides_with_the_logs_clock(accepted: Accepted) -> None:
    async def scene() -> tuple[int, int]:
        _, bus, _ = _fresh()
        await bus.log.append(accepted, after=0)
        await asyncio.sleep(3599)
        assert (await bus.log.info()).first == 1
        await asyncio.sleep(2)
        return (info := await bus.log.info()).first, info.last

    assert _run(scene()) == (2, 1)


def test_a_question_waits_exactly_as_long_as_it_said() -> None:
    class Text(Message):
        text: str

    async def never(text: Text, call: Call) -> Text:
        await asyncio.sleep(1e6)
        return text

    async def scene() -> float:
        _, one, two = _fresh()
        question = Question("tester", "never", Text, Text)
        async with one.rpc.serve(Service("tester", "1.0.0", "t-1"), [Answer(question, never)]):
            with pytest.raises(DeadlineExceeded):
                await two.rpc.ask(question, Text(text="x"), timeout_s=7.5)
            return _now_s()

    assert _run(scene()) == pytest.approx(7.5)


def test_the_same_scene_plays_the_same_way_each_time(accepted: Accepted) -> None:
    async def scene() -> list[tuple[float, str, int]]:
        _, one, two = _fresh()
        seen: list[tuple[float, str, int]] = []
        finished = asyncio.Event()

        async def work(name: str, bus: MemoryBus) -> None:
            async with bus.queue.take(CURSOR, slots=2) as taker:
                while True:
                    delivery = await taker.get()
                    seen.append((_now_s(), name, delivery.entry.sequence))
                    if len(seen) == 30:
                        finished.set()
                    await asyncio.sleep(0.1 * delivery.entry.sequence)
                    await (delivery.give_back(1.0) if delivery.delivered < 3 else delivery.done())

        for number in range(10):
            event = changed(accepted, task_id=f"t-{number}", event_id=f"e-{number}")
            await one.log.append(event, after=0)
        workers = [asyncio.create_task(work(name, bus)) for name, bus in (("one", one), ("two", two))]
        await finished.wait()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return seen

    first = _run(scene())
    assert first == _run(scene())
    assert sorted(sequence for _, _, sequence in first) == sorted([*range(1, 11)] * 3)
