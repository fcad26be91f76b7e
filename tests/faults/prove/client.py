"""A client that does what docs/http.md says: keys, Retry-After, Last-Event-ID, another edge when one is gone."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import aiohttp
from checker.history import Reading, Submission
from prove.memory import Memory, Operation
from prove.plan import TENANTS, Intention

PATIENCE_S = 45.0
"""How long a client tries before it calls it an error; no single fault lasts half as long."""
ANSWER_S = 7.0
"""How long one attempt waits for an answer, beside what it asked the edge to wait."""
REFUSED = frozenset({400, 401, 403, 404, 409, 413, 422, 429})
"""Certain refusals: the task was not stored by this attempt. A 503 leaves it open, unless it says one of the next."""
REFUSED_FOR_NOW = frozenset({"log_full", "overloaded", "bus_disconnected"})


class Answer(NamedTuple):
    """One response, or why there was none (`status` 0)."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    trouble: str = ""

    @property
    def value(self) -> dict[str, Any]:
        """The body as JSON, empty when it is none."""
        try:
            found = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def again(self) -> bool:
        """Whether the documentation says to come back."""
        return self.status in (0, 429, 503)


@dataclass
class Client:
    """One for all intentions of a run; holds no state but its memory."""

    session: aiohttp.ClientSession
    edges: Sequence[str]
    keys: Mapping[str, str]
    memory: Memory
    random: Random

    async def live(self, intention: Intention) -> None:
        """Hand the task in, then do what was intended with it."""
        task_id = await self._submit(intention, intention.body, "submit")
        if task_id is None:
            return
        await asyncio.sleep(intention.pause_s)
        tenant_id = intention.tenant_id
        if intention.then == "get":
            await self._result(tenant_id, task_id)
        elif intention.then == "stream":
            await self._stream(tenant_id, task_id)
        elif intention.then == "cancel":
            await self._cancel(tenant_id, task_id)
        elif intention.then == "again":
            await self._submit(intention, intention.body, "again")
        elif intention.then == "again_altered":
            await self._submit(intention, intention.altered(), "again_altered")
        elif intention.then == "spy":
            await self._spy(next(other for other in TENANTS if other != tenant_id), task_id)

    async def _submit(self, intention: Intention, body: dict[str, Any], what: str) -> str | None:
        """The task's id once an answer named it. An altered body must be refused, and has none."""
        wait = f"wait={intention.wait_s}" if intention.wait_s else "respond-async"
        headers = {"Prefer": wait} | ({} if intention.by_task_id else {"Idempotency-Key": intention.ref})
        began_s, edge, attempts = time.monotonic(), intention.edge, 0
        while True:
            attempts += 1
            at_ms = int(time.time() * 1000)
            request = {"json": body, "headers": headers | self._key(intention.tenant_id)}
            answer = await self._ask("POST", edge, "/v1/tasks", request, intention.wait_s + ANSWER_S)
            self.memory.submissions.append(self._submission(intention, body, answer, at_ms))
            if not answer.again:
                break
            if not await self._pause(answer, attempts, began_s):
                break
            edge += 1
        expected = {409, 422} if what == "again_altered" else {200, 202}
        self._settle(what, answer, answer.status in expected, attempts, began_s)
        self.memory.replays += answer.headers.get("Idempotency-Replayed") == "true"
        if answer.status == 200:
            code = (answer.value.get("error") or {}).get("code", "")
            self.memory.statuses[f"{answer.value.get('status')} {code}".rstrip()] += 1
        named = answer.value.get("task_id")
        return str(named) if answer.status in (200, 202) and named else None

    def _submission(self, intention: Intention, body: dict[str, Any], answer: Answer, at_ms: int) -> Submission:
        code = str(answer.value.get("code", ""))
        variant, timeout_ms = str(body["metadata"]["variant"]), round(body["sla"]["timeout_s"] * 1000)
        detail = answer.trouble or f"{answer.status} {code}".rstrip()
        tail = (at_ms, detail, intention.tenant_id, variant)
        if answer.status in (200, 202):
            result = answer.body if answer.status == 200 else b""
            now_ms = int(time.time() * 1000)
            return Submission(intention.ref, "ok", answer.value.get("task_id"), *tail, result, now_ms, timeout_ms)
        certain = answer.status in REFUSED or code in REFUSED_FOR_NOW
        return Submission(intention.ref, "fail" if certain else "info", None, *tail, timeout_ms=timeout_ms)

    async def _result(self, tenant_id: str, task_id: str) -> None:
        """Ask until the task has ended."""
        began_s, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            answer = await self._get(tenant_id, task_id, attempts)
            running = answer.status == 200 and answer.value.get("status") == "RUNNING"
            if answer.status == 200:
                body = b"" if running else answer.body
                self._read(Reading(tenant_id, task_id, int(time.time() * 1000), "get", 200, body))
            elif not answer.again:
                self._read(Reading(tenant_id, task_id, int(time.time() * 1000), "get", answer.status))
            if not (running or answer.again) or not await self._pause(answer, attempts, began_s):
                break
        self._settle("get", answer, answer.status == 200 and not running, attempts, began_s)

    async def _get(self, tenant_id: str, task_id: str, attempt: int) -> Answer:
        request = {"headers": self._key(tenant_id)}
        return await self._ask("GET", attempt, f"/v1/tasks/{task_id}", request, ANSWER_S)

    async def _cancel(self, tenant_id: str, task_id: str) -> None:
        """Cancelled by us, or told that it had ended: both are answers."""
        began_s, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            request = {"headers": self._key(tenant_id)}
            answer = await self._ask("POST", attempts, f"/v1/tasks/{task_id}/cancel", request, ANSWER_S + 5)
            status, body = (0 if answer.again else answer.status), (answer.body if answer.status == 200 else b"")
            self._read(Reading(tenant_id, task_id, int(time.time() * 1000), "cancel", status, body))
            if not answer.again:
                break
            if not await self._pause(answer, attempts, began_s):
                break
        self._settle("cancel", answer, answer.status in (200, 409), attempts, began_s)

    async def _spy(self, tenant_id: str, task_id: str) -> None:
        """Ask for another tenant's task: it must not exist for us."""
        began_s, attempts = time.monotonic(), 0
        while True:
            attempts += 1
            answer = await self._get(tenant_id, task_id, attempts)
            if not answer.again:
                self._read(Reading(tenant_id, task_id, int(time.time() * 1000), "get", answer.status))
                break
            if not await self._pause(answer, attempts, began_s):
                break
        self._settle("spy", answer, answer.status == 404, attempts, began_s)

    async def _stream(self, tenant_id: str, task_id: str) -> None:
        """Follow the task to `done`, over as many connections as it takes."""
        began_s, attempts, seen, result = time.monotonic(), 0, list[int](), b""
        answer = Answer(0, b"", {}, "no attempt")
        while not result:
            attempts += 1
            answer, result = await self._listen(tenant_id, task_id, attempts, seen)
            if result or not answer.again or not await self._pause(answer, attempts, began_s):
                break
        if result:
            at_ms = int(time.time() * 1000)
            self._read(Reading(tenant_id, task_id, at_ms, "stream", 200, result, tuple(seen)))
        self._settle("stream", answer, bool(result), attempts, began_s)

    async def _listen(self, tenant_id: str, task_id: str, attempt: int, seen: list[int]) -> tuple[Answer, bytes]:
        """One connection: what ended it, and the result when `done` was among its events."""
        headers = self._key(tenant_id) | ({"Last-Event-ID": str(seen[-1])} if seen else {})
        url = f"{self.edges[attempt % len(self.edges)]}/v1/stream/{task_id}"
        limit = aiohttp.ClientTimeout(total=PATIENCE_S, sock_connect=ANSWER_S, sock_read=20.0)
        self.memory.attempts += 1
        try:
            async with self.session.get(url, headers=headers, timeout=limit) as response:
                if response.status != 200:
                    answer = Answer(response.status, await response.read(), response.headers)
                    self._look(answer, "stream")
                    return answer, b""
                return await _events(response.content, seen)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._failed(error), b""

    async def _ask(self, method: str, edge: int, path: str, request: dict[str, Any], within_s: float) -> Answer:
        """One attempt."""
        limit = aiohttp.ClientTimeout(total=within_s)
        url = f"{self.edges[edge % len(self.edges)]}{path}"
        self.memory.attempts += 1
        try:
            async with self.session.request(method, url, timeout=limit, **request) as response:
                answer = Answer(response.status, await response.read(), response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._failed(error)
        self._look(answer, f"{method} {path.split('/')[2]}")
        return answer

    def _failed(self, error: Exception) -> Answer:
        self.memory.troubles[f"connection {type(error).__name__}"] += 1
        return Answer(0, b"", {}, type(error).__name__)

    def _look(self, answer: Answer, what: str) -> None:
        """Every refusal is a problem document; 429 and 503 are retryable and say when to come back."""
        if answer.status < 400:
            return
        code = answer.value.get("code")
        if answer.again:
            self.memory.troubles[f"{answer.status} {code}"] += 1
        if answer.status >= 500 and answer.status != 503:
            self.memory.complaints.append(f"{what}: {answer.status} {code}, which nobody can act on")
        if not isinstance(code, str) or answer.value.get("status") != answer.status:
            self.memory.complaints.append(f"{what}: {answer.status} is no problem document: {answer.body[:200]!r}")
        elif answer.again != answer.value.get("retryable"):
            self.memory.complaints.append(f"{what}: {answer.status} {code} says retryable {answer.value['retryable']}")
        if answer.again and not answer.headers.get("Retry-After", "").isdigit():
            self.memory.complaints.append(f"{what}: {answer.status} {code} does not say when to come back")

    async def _pause(self, answer: Answer, attempts: int, began_s: float) -> bool:
        """Wait as told, else a little and ever longer. False when patience is over."""
        asked_s = float(answer.headers.get("Retry-After", 0))
        own_s = min(2.0, 0.1 * 2.0 ** min(attempts, 5)) if answer.status == 0 else 0.0
        pause_s = max(asked_s, own_s) * self.random.uniform(1.0, 1.3)
        if time.monotonic() + pause_s - began_s > PATIENCE_S:
            return False
        await asyncio.sleep(pause_s)
        return True

    def _settle(self, what: str, answer: Answer, settled: bool, attempts: int, began_s: float) -> None:
        last = answer.trouble or f"{answer.status} {answer.value.get('code', '')}".rstrip()
        self.memory.operations.append(Operation(what, settled, attempts, time.monotonic() - began_s, last))
        if not settled and not answer.again and answer.status != 200:
            self.memory.complaints.append(f"{what}: {last}: {answer.body[:300]!r}")

    def _read(self, reading: Reading) -> None:
        self.memory.readings.append(reading)

    def _key(self, tenant_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[tenant_id]}"}


async def _events(content: aiohttp.StreamReader, seen: list[int]) -> tuple[Answer, bytes]:
    """Read server-sent events until `done` or the end of the connection; ids are added to `seen`."""
    name, data = "", b""
    async for line in content:
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"id":
            seen.append(int(value))
        elif field == b"event":
            name = value.decode()
        elif field == b"data":
            data = value
        elif not field and name == "done":
            return Answer(200, data, {}), data
    return Answer(0, b"", {}, "stream ended early"), b""
