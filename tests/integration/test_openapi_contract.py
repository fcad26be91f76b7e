"""schemathesis, which nobody here wrote, against a running edge: what `/openapi.json` says is so."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from twin_edge import DIGEST, End, TwinEdge, answering, twin_edge

from actors.auth.actor import Auth
from actors.auth.settings import AuthSettings
from actors.runtime import Context
from bridges.ledger.answers import decode_before, encode_before
from bus.memory import MemoryBus
from bus.port import Answer, Call, Service
from bus.questions import LEDGER_GET, LEDGER_LIST
from edge.openapi.document import document, document_text
from edge.openapi.operations import OPERATIONS
from schemas.errors import NotFound
from schemas.events import Accepted
from schemas.faces import ChatFace, EmbeddingsFace
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerGet, LedgerList, LedgerPage, LedgerTask
from schemas.registry import EngineAdvert, ModuleRecord

pytestmark = pytest.mark.alone

PROGRAM = Path(__file__).parents[1] / "stories" / "contract_cli.py"
CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 120
"""Of each operation in the fuzzing phase; the coverage phase makes more than a thousand cases on its own."""
SOME = "^/v1/(chat|completions|embeddings)"
"""About half of the cases: a process makes more of them in Python than two cores can answer, so there are two."""

SUMMARIZE = ModuleRecord(
    name="summarize_text", version="1.0.0", digest=DIGEST, intents=("summarize",),
    openai=ChatFace(takes="last-user-message", param="text", answer="/summary"),
)  # fmt: skip
EMBED = ModuleRecord(
    name="embed_text", version="1.0.0", digest=DIGEST, intents=("embed",),
    openai=EmbeddingsFace(param="texts", dimensions="dimensions", vectors="/vectors"),
)  # fmt: skip
WASM = EngineAdvert(
    engine="wasm", instance="w1", route="local", intents=("embed", "summarize"), slots=48, free_slots=48
)
TASK = LedgerTask(
    tenant_id=TenantId("acme"), task_id=TaskId("t-1"), intent="summarize", state="routed", accepted_at_ms=5
)


def answer(event: Accepted) -> End:
    if event.brief.intent == "embed":
        return End({"vectors": [[0.6, -0.8]] * len(event.params.get("texts", ()))})
    return End({"summary": "Cats sleep."})


async def get(asked: LedgerGet, _call: Call) -> LedgerTask:
    raise NotFound(f"there is no task {asked.task_id}")


async def page(asked: LedgerList, _call: Call) -> LedgerPage:
    if asked.before is not None:
        decode_before(asked.before)
    return LedgerPage(tasks=(TASK,), next=encode_before(TASK))


@asynccontextmanager
async def issuing(twin: TwinEdge, folder: Path) -> AsyncIterator[None]:
    """The auth actor beside the edge."""
    context = Context(MemoryBus(twin.server), "auth-1", structlog.get_logger(), twin.server.now_ms)
    auth = Auth(context, AuthSettings(folder=folder))
    async with auth.lifespan():
        answers = auth.answers()
        async with twin.bus.rpc.serve(Service("auth", "1", "one"), answers), asyncio.TaskGroup() as group:
            group.create_task(auth.run())
            yield
            context.draining.set()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[TwinEdge]:
    """An edge with two packages, somebody who answers, a ledger, and the auth actor."""
    async with twin_edge(default_wait_s=2.0) as twin, answering(twin, answer), issuing(twin, folder):
        ledger = (Answer(LEDGER_GET, get), Answer(LEDGER_LIST, page))
        async with twin.bus.rpc.serve(Service("ledger", "1", "one"), ledger):
            await twin.admit(SUMMARIZE, EMBED, WASM)
            yield twin


async def test_two_thousand_cases_find_no_fault_and_no_broken_promise(tmp_path: Path) -> None:
    async with served(tmp_path / "auth") as twin:
        halves = await asyncio.gather(
            schemathesis(twin, tmp_path / "some.json", "--include-path-regex", SOME),
            schemathesis(twin, tmp_path / "rest.json", "--exclude-path-regex", SOME),
        )
    for report, output in halves:
        assert report["test_cases"]["with_failures"] == report["test_cases"]["errored"] == 0, output
        assert report["exit_code"] == 0, output
    tested = sum(report["operations"]["tested"] for report, _ in halves)
    assert tested == len(OPERATIONS) - 1  # it reads the document, and does not test reading it
    assert sum(report["test_cases"]["generated"] for report, _ in halves) >= 2000


async def schemathesis(twin: TwinEdge, to: Path, *which: str) -> tuple[dict[str, Any], str]:
    """Its report and the end of what it said; it runs in a process of its own."""
    command = [
        sys.executable, str(PROGRAM), "--config-file", str(CONFIG), "run", f"{twin.url}/openapi.json",
        "--header", f"Authorization: Bearer {twin.key}",
        # The key of --header is sent in the cases without a key too; `ignored_auth` asks the same without that mistake.
        "--checks", "all", "--exclude-checks", "missing_required_header",
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1",
        "--continue-on-failure", "--no-shrink", "--request-timeout", "10", "--report", "json",
        "--report-json-path", str(to), *which,
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=to.parent
    )
    output, _ = await asyncio.wait_for(process.communicate(), 110)
    return json.loads(to.read_text()), output.decode()[-6000:]  # noqa: ASYNC240 - a test's own file


async def test_the_document_and_its_page_are_served_to_anybody_and_need_nothing_from_elsewhere() -> None:
    async with twin_edge() as twin, aiohttp.ClientSession(twin.url) as http:
        async with http.get("/openapi.json") as response:
            assert (response.status, await response.text()) == (200, document_text())
        async with http.get("/docs") as response:
            page = await response.text()
            assert (response.status, response.content_type) == (200, "text/html")
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "http://" not in page
    assert "https://" not in page


async def test_every_route_of_the_edge_is_in_the_document() -> None:
    async with twin_edge() as twin:
        routes = twin.edge.routes
    documented = {(path, method.upper()) for path, methods in document()["paths"].items() for method in methods}
    served = {(path, method) for path, methods in routes.items() for method in methods if method != "HEAD"}
    assert served == documented, "say in edge/openapi/operations.py what the route takes and answers"
