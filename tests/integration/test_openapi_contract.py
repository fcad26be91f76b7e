"""schemathesis, which nobody here wrote, against a running edge: what `/openapi.json` says is so."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twin_edge import DIGEST, End, TwinEdge, answering, twin_edge

from bridges.ledger.answers import decode_before, encode_before
from bus.port import Answer, Call, Service
from bus.questions import LEDGER_GET, LEDGER_LIST
from schemas.errors import NotFound
from schemas.events import Accepted
from schemas.faces import ChatFace, EmbeddingsFace
from schemas.ids import TaskId, TenantId
from schemas.ledger import LedgerGet, LedgerList, LedgerPage, LedgerTask
from schemas.registry import EngineAdvert, ModuleRecord

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
async def served() -> AsyncIterator[TwinEdge]:
    """An edge with two packages, somebody who answers, and a ledger."""
    async with twin_edge(default_wait_s=2.0) as twin, answering(twin, answer):
        ledger = (Answer(LEDGER_GET, get), Answer(LEDGER_LIST, page))
        async with twin.bus.rpc.serve(Service("ledger", "1", "one"), ledger):
            await twin.admit(SUMMARIZE, EMBED, WASM)
            yield twin
