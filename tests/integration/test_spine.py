"""The whole spine on real servers: HTTP in, one result out, the same history in Kafka and in PostgreSQL."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from openai import AsyncOpenAI, BadRequestError

from actors.runtime import Actor
from actors.runtime.supervisor import Cast, Supervisor
from actors.sweeper.actor import Sweeper
from actors.sweeper.settings import SweeperSettings
from bridges.kafka.actor import KafkaBridge
from bridges.kafka.records import records_of_task
from bridges.kafka.settings import KafkaSettings
from bridges.kafka.verify import verify
from bridges.ledger.actor import Ledger
from bridges.ledger.settings import LedgerSettings
from bus import Bus, BusSettings, open_bus
from bus.questions import LEDGER_GET, LEDGER_LIST
from bus.subjects import KEYS
from deploy.local import env, remove, up
from edge.actor import Edge
from edge.settings import EdgeSettings
from executors.wasm.actor import WasmExecutor
from executors.wasm.build import build
from executors.wasm.settings import WasmSettings
from router.actor import Router
from router.settings import RouterSettings
from schemas import keys
from schemas.errors import NotFound
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerGet, LedgerList
from schemas.message import encode

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]
TENANT = TenantId("acme")
TEXT = "Cats sleep all day. Cats hunt at night. Dogs bark at cats. The weather was fine. Nobody knows why cats purr."


@dataclass(frozen=True)
class Spine:
    """A running system and a client of it."""

    bus: Bus
    kafka: KafkaSettings
    http: aiohttp.ClientSession
    openai: AsyncOpenAI

    async def submit(self, intent: str, params: dict[str, Any], *, prefer: str = "wait=20", **more: Any) -> Any:
        body = {"intent": intent, "params": params, **more}
        async with self.http.post("/v1/tasks", json=body, headers={"Prefer": prefer}) as response:
            return response.status, await response.json()

    async def get(self, task_id: str) -> Any:
        async with self.http.get(f"/v1/tasks/{task_id}") as response:
            return response.status, await response.json()

    async def caught_up(self) -> None:
        """Both projections have all that stands in the log now."""
        last = (await self.bus.log.info()).last
        async with asyncio.timeout(15):
            while True:
                seen = {one.name: one.data.get("sequence", 0) for one in await self.bus.rpc.discover(wait_s=0.1)}
                if all(int(str(seen.get(name, 0))) >= last for name in ("kafka", "ledger")):
                    return
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def urls(server_folder: Path) -> Iterator[dict[str, str]]:
    data_dir = server_folder / "spine"
    unset = {name: value for name, value in os.environ.items() if not name.startswith("AION_")}
    try:
        yield env(up(data_dir, unset, cache_dir=ROOT / "var" / "cache"))
    finally:
        remove(data_dir)


@pytest.fixture(scope="module")
def packages() -> Path:
    out = ROOT / "build" / "packages"
    for name in ("embed_text", "extract_keywords", "summarize_text"):
        build(name, out)
    return out


def actors(urls: dict[str, str], packages: Path, left_out: tuple[type[Actor], ...]) -> Cast:
    wasm = WasmSettings(packages_dir=packages, cache_dir=ROOT / "build" / "wasm-test-cache", cells=1)
    members: list[tuple[type[Actor], Any]] = [
        (Edge, EdgeSettings(port=0)),
        (Router, RouterSettings(wait_min_s=0.05, wait_max_s=0.2)),
        (WasmExecutor, wasm),
        (Sweeper, SweeperSettings(grace_s=0.2)),
        (KafkaBridge, KafkaSettings(bootstrap=urls["AION_KAFKA__BOOTSTRAP"])),
        (Ledger, LedgerSettings(url=urls["AION_POSTGRES__URL"])),
    ]
    return Cast([(cls, settings) for cls, settings in members if cls not in left_out])


@asynccontextmanager
async def running(urls: dict[str, str], packages: Path, left_out: tuple[type[Actor], ...] = ()) -> AsyncIterator[Spine]:
    """Every actor but `left_out` in this process, and an API key; leaving drains them all."""
    settings = BusSettings(url=urls["AION_NATS__URL"])
    cast = actors(urls, packages, left_out)
    supervisor = Supervisor(cast, lambda: open_bus(settings), structlog.get_logger(), keep_s=settings.keep_s)
    running = asyncio.create_task(supervisor.run())
    try:
        async with open_bus(settings) as bus:
            key, record = keys.mint(TENANT, time.time_ns() // 1_000_000, secrets.token_bytes(keys.RANDOM_BYTES))
            await bus.kv.put(KEYS, f"apikey.{record.key_id}", encode(record))
            port = await _port(bus, running, {member[0].name for member in cast.members})
            headers = {"Authorization": f"Bearer {key}"}
            url = f"http://127.0.0.1:{port}"
            async with (
                aiohttp.ClientSession(url, headers=headers) as http,
                AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as openai,
            ):
                yield Spine(bus, KafkaSettings(bootstrap=urls["AION_KAFKA__BOOTSTRAP"]), http, openai)
    finally:
        supervisor.drain()
        async with asyncio.timeout(30):
            assert await running == 0


async def _port(bus: Bus, running: "asyncio.Task[int]", expected: set[str]) -> int:
    async with asyncio.timeout(90):  # in a clean checkout the packages are compiled first
        while not running.done():
            found = {one.name: one.data for one in await bus.rpc.discover(wait_s=0.1)}
            if found.keys() >= expected and all(data.get("ready") for data in found.values()):
                return int(str(found["edge"]["port"]))
            await asyncio.sleep(0.1)
    raise AssertionError("the actors ended before they were ready")


async def test_one_task_from_http_to_kafka_and_postgres(urls: dict[str, str], packages: Path) -> None:
    async with running(urls, packages) as spine:
        status, result = await spine.submit("summarize", {"text": TEXT, "max_sentences": 2})
        assert (status, result["status"], result["error"]) == (200, "OK", None)
        assert result["engine"] == {"route": "local", "chosen_by": "ai-router", "reason": "only_eligible: wasm"}
        assert result["result"]["summary"]
        assert all(sentence in TEXT for sentence in result["result"]["sentences"])

        task_id = result["task_id"]
        assert await spine.get(task_id) == (200, result)
        events = [entry.event() for entry in await spine.bus.log.events(TENANT, TaskId(task_id))]
        assert [event.event for event in events] == ["accepted", "routed", "ended"]

        await spine.caught_up()
        records = await records_of_task(spine.kafka, task_id, 10.0)
        told = [one["value"]["event"] for one in records if one["topic"] == "aion.task.events.v1"]
        assert told == ["accepted", "routed", "ended"]
        kept = await spine.bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id=TENANT, task_id=task_id))
        assert kept.result is not None
        assert json.loads(encode(kept.result).decode()) == result
        with pytest.raises(NotFound):
            await spine.bus.rpc.ask(LEDGER_GET, LedgerGet(tenant_id="someone-else", task_id=task_id))


async def test_a_hundred_tasks_agree_in_the_log_kafka_and_the_ledger(urls: dict[str, str], packages: Path) -> None:
    async with running(urls, packages) as spine:
        first = (await spine.bus.log.info()).last + 1
        answers = await asyncio.gather(
            *(spine.submit("summarize", {"text": f"Number {n} sleeps. {TEXT}"}) for n in range(100))
        )
        assert {(status, result["status"]) for status, result in answers} == {(200, "OK")}
        await spine.caught_up()
        last = (await spine.bus.log.info()).last
        assert last - first + 1 == 300
        report = await verify(spine.bus, spine.kafka, first, last)
        assert (report.ok, report.events, report.usage_records) == (True, 300, 100), report.examples
        page = await spine.bus.rpc.ask(LEDGER_LIST, LedgerList(tenant_id=TENANT, limit=100))
        assert {task.task_id for task in page.tasks} == {result["task_id"] for _, result in answers}


async def test_bad_input_accepts_nothing(urls: dict[str, str], packages: Path) -> None:
    async with running(urls, packages) as spine:
        before = (await spine.bus.log.info()).last
        assert (await spine.submit("no-such-intent", {}))[1]["code"] == "unknown_intent"
        assert (await spine.submit("summarize", {}, tenant_id="another"))[0] == 403
        wrong = {"Authorization": "Bearer aion_nope"}
        async with spine.http.post("/v1/tasks", json={}, headers=wrong) as response:
            assert response.status == 401
        async with spine.http.post("/v1/tasks", data=b"{", headers={"Content-Type": "application/json"}) as response:
            assert (response.status, (await response.json())["code"]) == (400, "invalid_request")
        assert (await spine.bus.log.info()).last == before


async def test_params_that_do_not_fit_end_as_an_error_that_says_where(urls: dict[str, str], packages: Path) -> None:
    async with running(urls, packages) as spine:
        status, result = await spine.submit("summarize", {"text": 7})
        assert (status, result["status"], result["error"]["code"]) == (200, "ERROR", "input_invalid")
        assert "/text" in result["error"]["message"]


async def test_without_an_executor_a_known_intent_times_out_by_its_deadline(
    urls: dict[str, str], packages: Path
) -> None:
    async with running(urls, packages, left_out=(WasmExecutor,)) as spine:
        started = time.monotonic()
        status, result = await spine.submit("summarize", {"text": TEXT}, sla={"timeout_s": 1.0})
        assert (status, result["status"], result["error"]["code"]) == (200, "TIMEOUT", "deadline_exceeded")
        assert 1.0 <= time.monotonic() - started < 6.0


async def test_a_waiting_task_can_be_cancelled_and_stays_so(urls: dict[str, str], packages: Path) -> None:
    async with running(urls, packages, left_out=(WasmExecutor,)) as spine:
        status, answer = await spine.submit("summarize", {"text": TEXT}, prefer="respond-async")
        assert status == 202
        path = f"/v1/tasks/{answer['task_id']}/cancel"
        async with spine.http.post(path) as response:
            assert (response.status, (await response.json())["status"]) == (200, "CANCELED")
        async with spine.http.post(path) as response:
            assert (response.status, (await response.json())["code"]) == (409, "already_ended")
        assert (await spine.get(answer["task_id"]))[1]["status"] == "CANCELED"


async def test_openais_sdk_is_served_by_local_packages_and_billed_like_anybody(
    urls: dict[str, str], packages: Path
) -> None:
    async with running(urls, packages) as spine:
        sdk = spine.openai
        assert {model.id async for model in sdk.models.list()} == {"embed", "summarize"}
        raw = await sdk.chat.completions.with_raw_response.create(
            model="summarize", messages=[{"role": "user", "content": TEXT}]
        )
        chat = raw.parse()
        said = chat.choices[0].message.content
        assert said
        assert all(sentence in TEXT for sentence in said.split(". "))
        assert chat.usage is not None
        assert chat.usage.prompt_tokens == len(TEXT.split())
        stream = await sdk.chat.completions.create(
            model="summarize", messages=[{"role": "user", "content": TEXT}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == said
        vectors = [one.embedding for one in (await sdk.embeddings.create(model="embed", input=["a cat", "cats"])).data]
        assert [len(vector) for vector in vectors] == [256, 256]
        with pytest.raises(BadRequestError) as refused:
            await sdk.embeddings.create(model="embed", input="a cat", dimensions=7)
        assert refused.value.code == "input_invalid"

        await spine.caught_up()
        async with spine.http.get("/v1/tasks", params={"intent": "summarize", "limit": 2}) as response:
            listed = (await response.json())["tasks"]
        assert raw.headers["X-Aion-Task-Id"] in {task["task_id"] for task in listed}
        assert {(task["status"], task["intent"]) for task in listed} == {("OK", "summarize")}
        async with spine.http.get("/v1/engines") as response:
            (engine,) = (await response.json())["engines"]
        assert engine["engine"] == "wasm"
        assert {"embed", "keywords", "summarize"} <= set(engine["intents"])


@pytest.mark.parametrize(("page", "said_at_last"), [("openai.md", "128\n"), ("websocket.md", "Dogs bark at cats.\n")])
async def test_the_example_of_a_page_runs_as_it_stands(
    urls: dict[str, str], packages: Path, page: str, said_at_last: str
) -> None:
    example = (ROOT / "docs" / page).read_text().split("```python\n")[1].split("```")[0]
    async with running(urls, packages) as spine:
        here = example.replace("127.0.0.1:8080", spine.openai.base_url.netloc.decode())
        here = here.replace('open("var/local/api-key").read().strip()', repr(spine.openai.api_key))
        assert "var/local" not in here
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", here, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, complaint = await asyncio.wait_for(process.communicate(), 30)
    assert complaint == b""
    assert said.decode().endswith(said_at_last)
