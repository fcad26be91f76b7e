"""The first real task of `aionctl up`, and the proof of it: result, events, Kafka records."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.cli.door import Door
from actors.cli.environment import write_secret
from actors.cli.output import talk
from actors.cli.session import ask, section, tool, within
from actors.cli.submit import hand_in
from actors.runtime.settings import Settings
from bus import Bus, BusSettings
from bus.questions import AUTH_KEY_CREATE
from bus.subjects import KEYS
from bus.waiting import timeout
from schemas import keys
from schemas.errors import AionError, Unauthenticated, Unavailable
from schemas.events import AuditEvent
from schemas.identity import KeyCreate
from schemas.ids import TaskId, TenantId
from schemas.keys import Pepper, read_peppers
from schemas.message import decode
from schemas.registry import ApiKeyRecord

TENANT = TenantId("demo")
BUS_TIMEOUT_S = 20.0
AUTH_READY_S = 60.0
RECORDS_TIMEOUT_S = 15.0
TASK_TIMEOUT_S = 30.0
FIRST_COMPILE_S = 240.0
"""A first start compiles every package to machine code; on two busy cores that took a minute."""
_REFUSED_RETRY_S = 0.2


def ensure_key(settings: Settings, path: Path) -> str:
    """The key of the tenant `demo`: the one in `path` while it is good, else a new one, saved for us only."""
    stored = path.read_text(encoding="ascii").strip() if path.exists() else ""
    pepper = section(settings, "auth").key_pepper
    peppers = read_peppers(pepper.get_secret_value()) if pepper is not None else ()

    async def work(bus: Bus) -> str:
        if await _is_good(bus, stored, peppers):
            return stored
        asked = KeyCreate(tenant_id=TENANT, note="made by aionctl up")
        issued = await ask(bus, AUTH_KEY_CREATE, asked, wait_s=AUTH_READY_S)
        write_secret(path, issued.key)
        return issued.key

    return asyncio.run(within(settings.load("nats", BusSettings), work, AUTH_READY_S + BUS_TIMEOUT_S))


def run_task(door: Door, text: str) -> Any:
    """The canonical result of a real summary. A key or an intent that the edge has yet to hear of is tried again."""
    body = {"intent": "summarize", "params": {"text": text, "max_sentences": 2}, "sla": {"timeout_s": TASK_TIMEOUT_S}}
    deadline, told = time.monotonic() + FIRST_COMPILE_S, False
    while True:
        try:
            return hand_in(door, body, TASK_TIMEOUT_S)
        except AionError as error:
            fresh = error.code in ("unauthenticated", "unknown_intent", "unavailable")
            if not fresh or time.monotonic() > deadline:
                raise
            if not told and error.code == "unknown_intent":
                talk("wasm: compiling the agent packages, once")
                told = True
        time.sleep(_REFUSED_RETRY_S)


def proof(settings: Settings, task_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The task's events as the log holds them, and its records as a `read_committed` consumer gets them."""
    read_records = tool("kafka-records")
    kafka = section(settings, "kafka")

    async def both() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        events = await within(settings.load("nats", BusSettings), events_of(TaskId(task_id)), BUS_TIMEOUT_S)
        async with timeout(RECORDS_TIMEOUT_S * 2):
            return events, await read_records(kafka, task_id, RECORDS_TIMEOUT_S)

    return asyncio.run(both())


def events_of(task_id: TaskId) -> Any:
    """Work for a visit: one line of facts for each event of the task, without its params."""

    async def work(bus: Bus) -> list[dict[str, Any]]:
        found = []
        for entry in await bus.log.events(TENANT, task_id):
            event = entry.event()
            lane = "" if isinstance(event, AuditEvent) else event.lane
            found.append({"sequence": entry.sequence, "event": event.event, "lane": lane, "at_ms": event.at_ms})
        return found

    return work


def record_line(record: Mapping[str, Any]) -> dict[str, Any]:
    """A Kafka record without its value: where it is and what its headers say."""
    return {
        "topic": record["topic"],
        "partition": record["partition"],
        "offset": record["offset"],
        "ce_type": record["headers"].get("ce_type"),
        "aion_seq": record["headers"].get("aion_seq"),
    }


def hints(door: Door) -> str:
    """Two lines to copy into another terminal."""
    body = json.dumps({"intent": "summarize", "params": {"text": "One sentence. Another sentence."}})
    curl = (
        f"curl -s {door.url}/v1/tasks -H 'Content-Type: application/json' "
        f"-H \"Authorization: Bearer $(cat var/local/api-key)\" -d '{body}'"
    )
    return f"{curl}\n.venv/bin/aionctl submit summarize --text deploy/local/sample.txt"


async def _is_good(bus: Bus, text: str, peppers: Sequence[Pepper]) -> bool:
    try:
        parsed = keys.parse(text)
        stored = await bus.kv.get(KEYS, keys.record_key(parsed.key_id))
        record = None if stored is None else decode(stored.value, ApiKeyRecord)
        keys.verify(parsed, record, bus.now_ms(), peppers)
    except (Unauthenticated, Unavailable):
        return False
    return True
