"""The WASM executor with its real sandbox, on the twin of the bus."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from actors.runtime import Context, GiveBack
from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery
from bus.subjects import ENGINES, MODULES, cancel, routed
from edge.tasks.bookmark import START
from edge.tasks.following import follow
from edge.tasks.items import Finished, Happened, Said
from executors.wasm.actor import WasmExecutor
from executors.wasm.build import build
from executors.wasm.sandbox import Answer
from executors.wasm.settings import WasmSettings
from schemas.errors import DeadlineExceeded
from schemas.events import Accepted, Brief, Ended, Outcome, Routed
from schemas.faces import ChatFace
from schemas.ids import EventId, TaskId, TenantId
from schemas.message import decode
from schemas.registry import EngineAdvert, ModuleRecord
from schemas.result import Engine
from schemas.task import Priority, Privacy

TENANT = TenantId("acme")
CACHE = Path(__file__).parents[2] / "build" / "wasm-test-cache"
DECISION = Engine(route="local", chosen_by="ai-router", reason="only_eligible: wasm")


class Ground:
    """A twin, an executor on it, and tasks routed to it."""

    def __init__(self, server: MemoryServer, bus: MemoryBus, executor: WasmExecutor) -> None:
        self.server, self.bus, self.executor = server, bus, executor

    async def routed(
        self,
        name: str,
        params: dict[str, Any],
        *,
        intent: str = "summarize",
        timeout_ms: int = 20_000,
        spent_nanousd: int = 0,
    ) -> Delivery:
        task_id = TaskId(name)
        now_ms = self.server.now_ms()
        brief = Brief(
            intent=intent,
            priority=Priority.NORMAL,
            privacy=Privacy.LOCAL_ONLY,
            accepted_at_ms=now_ms,
            deadline_ms=now_ms + timeout_ms,
        )
        common: dict[str, Any] = {"tenant_id": TENANT, "task_id": task_id, "at_ms": now_ms, "brief": brief}
        first = Accepted(event_id=EventId(f"a-{name}"), params=params, fingerprint="f", **common)
        after = await self.bus.log.append(first, after=0)
        common |= {"event_id": EventId(f"r-{name}"), "params": params, "spent_nanousd": spent_nanousd}
        second = Routed(engine="wasm", decision=DECISION, **common)
        await self.bus.log.append(second, after=after)
        async with self.bus.queue.take(routed("wasm", Priority.NORMAL), slots=1) as taker:
            delivery = await taker.get()
            await delivery.done()
            return delivery

    async def last(self, name: str) -> Any:
        entry = await self.bus.log.last(TENANT, TaskId(name))
        assert entry is not None
        return entry.event()


@pytest.fixture(scope="module")
def built_packages() -> Path:
    out = Path(__file__).parents[2] / "build" / "packages"
    for name in ("extract_keywords", "summarize_stdio", "summarize_text"):
        build(name, out)
    return out


@pytest.fixture
async def ground(built_packages: Path) -> AsyncIterator[Ground]:
    server = MemoryServer()
    bus = MemoryBus(server)
    context = Context(bus, "one", structlog.get_logger(), server.now_ms, random.Random(1))
    executor = WasmExecutor(context, WasmSettings(packages_dir=built_packages, cache_dir=CACHE, cells=1))
    async with executor.lifespan():
        yield Ground(server, bus, executor)


async def test_it_says_what_it_answers_and_is_gone_when_it_leaves(built_packages: Path) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    context = Context(bus, "one", structlog.get_logger(), server.now_ms, random.Random(1))
    settings = WasmSettings(packages_dir=built_packages, cache_dir=CACHE, cells=1)
    async with WasmExecutor(context, settings).lifespan():
        advert = await bus.kv.get(ENGINES, "wasm.one")
        module = await bus.kv.get(MODULES, "summarize_text")
    assert advert is not None
    assert "summarize" in decode(advert.value, EngineAdvert).intents
    assert module is not None
    record = decode(module.value, ModuleRecord)
    assert record.digest.startswith("sha256:")
    assert isinstance(record.openai, ChatFace)
    assert record.openai.answer == "/summary"
    assert await bus.kv.get(ENGINES, "wasm.one") is None
    assert await bus.kv.get(MODULES, "summarize_text") is not None


async def test_a_routed_task_ends_with_the_modules_answer(ground: Ground) -> None:
    text = "Cats sleep all day. Cats hunt at night. Dogs bark. The weather is fine. Cats purr when cats are happy."
    await ground.executor.execute(await ground.routed("t1", {"text": text, "max_sentences": 1}))
    ended = await ground.last("t1")
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.engine, ended.engine_name) == (Outcome.COMPLETED, DECISION, "wasm")
    assert ended.result["summary"] in text
    assert "ats" in ended.result["summary"]


async def test_what_a_module_says_while_it_works_is_followed_by_its_answer(ground: Ground) -> None:
    text = " ".join(f"Sentence {number} speaks of rain, of wind and of the sea." for number in range(15_000))
    delivery = await ground.routed("said", {"text": text, "max_sentences": 5})
    async with follow(ground.bus, TENANT, TaskId("said"), START) as following:
        execution = asyncio.create_task(ground.executor.execute(delivery))
        items = [item async for item in following]
        await execution
    said = "".join(item.text for item in items if isinstance(item, Said))
    summary = (await ground.last("said")).result["summary"]
    assert said == summary
    assert [type(item) for item in items][:3] == [Happened, Happened, Said]
    assert isinstance(items[-1], Finished)
    assert all(item.mark.sequence == delivery.entry.sequence for item in items[1:-1])


async def test_params_that_do_not_fit_end_the_task_as_failed_and_say_where(ground: Ground) -> None:
    await ground.executor.execute(await ground.routed("t2", {"text": 7}))
    ended = await ground.last("t2")
    assert (ended.outcome, ended.error.code) == (Outcome.FAILED, "input_invalid")
    assert "/text" in ended.error.message


async def test_an_intent_nobody_here_answers_is_left_to_others_and_then_ends_as_failed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = await ground.routed("t3", {}, intent="translate")
    with pytest.raises(GiveBack):
        await ground.executor.execute(delivery)
    assert (await ground.last("t3")).event == "routed"
    monkeypatch.setattr("executors.wasm.actor._LACKING_S", 0)
    await ground.executor.execute(delivery)
    assert (await ground.last("t3")).error.code == "not_found"


async def test_whoever_ends_a_task_bills_what_its_failed_attempts_cost(ground: Ground) -> None:
    delivery = await ground.routed("dear", {"text": "One sentence."}, spent_nanousd=300)
    await ground.executor.execute(delivery)
    assert (await ground.last("dear")).usage.cost_nanousd == 300


async def test_a_result_that_is_too_large_for_the_bus_ends_the_task_as_failed(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enormous(*_: object) -> Answer:
        return Answer({"summary": "x" * 2_000_000}, 0.1, None, 0.1)

    monkeypatch.setattr(ground.executor._sandbox, "run", enormous)
    await ground.executor.execute(await ground.routed("large", {"text": "One. Two."}))
    ended = await ground.last("large")
    assert (ended.outcome, ended.error.code) == (Outcome.FAILED, "output_too_large")


async def test_a_delivery_seen_before_is_not_run_again(ground: Ground) -> None:
    delivery = await ground.routed("t4", {"text": "One sentence."})
    await ground.executor.execute(delivery)
    first = await ground.last("t4")
    await ground.executor.execute(delivery)
    assert await ground.last("t4") == first
    assert ground.executor.status()["late_results_refused"] == 1


async def test_an_overdue_task_is_left_to_the_sweeper(ground: Ground) -> None:
    await ground.executor.execute(await ground.routed("t5", {"text": "One sentence."}, timeout_ms=0))
    assert (await ground.last("t5")).event == "routed"


async def test_a_cancel_frees_the_executor_and_leaves_the_log_alone(ground: Ground) -> None:
    delivery = await ground.routed("t6", {"text": "A sentence of words. " * 9000})
    work = asyncio.create_task(ground.executor.execute(delivery))
    while ground.executor.status()["running"] == 0:  # noqa: ASYNC110 - it starts in its own time
        await asyncio.sleep(0)
    await ground.bus.signals.send(cancel(TENANT, TaskId("t6")))
    async with asyncio.timeout(5):
        await work
    assert (await ground.last("t6")).event == "routed"
    await ground.executor.execute(await ground.routed("t7", {"text": "It still works."}))
    assert (await ground.last("t7")).outcome is Outcome.COMPLETED


async def test_full_cells_give_the_task_back_instead_of_failing_it(ground: Ground) -> None:
    flood = [ground.executor._sandbox.run("summarize_text", {"text": "One. Two."}, 20.0) for _ in range(600)]
    delivery = await ground.routed("t8", {"text": "One sentence."})
    busy = [asyncio.ensure_future(run) for run in flood]
    await asyncio.sleep(0)
    with pytest.raises(GiveBack):
        await ground.executor.execute(delivery)
    await asyncio.gather(*busy, return_exceptions=True)
    assert (await ground.last("t8")).event == "routed"


async def test_a_task_for_which_no_cell_gets_free_in_time_ends_as_timeout(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_free(*_: object) -> None:
        raise DeadlineExceeded("no WASM cell got free in time")

    monkeypatch.setattr(ground.executor._sandbox, "run", never_free)
    await ground.executor.execute(await ground.routed("late", {"text": "One. Two."}))
    ended = await ground.last("late")
    assert ended.outcome is Outcome.TIMEOUT
    assert ended.error.code == "deadline_exceeded"
