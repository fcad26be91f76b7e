"""Clients that hand in tasks until each is accepted, and remember every answer."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from checker.history import Submission

CLIENTS = 48
ATTEMPT_S = 8.0
PAUSE_S = 0.1
SETTLED = frozenset({400, 401, 403, 404, 409, 413, 422, 429})
"""Refusals that are certain. A 503 is one only when the log is full, too much waits or the bus is away."""


@dataclass
class Load:
    """`tasks` by reference. `accepted` grows while `run` goes on; `half` is set in the middle of it."""

    url: str
    key: str
    tasks: Mapping[str, dict[str, Any]]
    give_up_s: float = 30.0
    history: list[Submission] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    half: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Hand in every task, up to `CLIENTS` at once; a reference that is never accepted is given up in time."""
        waiting = deque(self.tasks)
        self._until = time.monotonic() + self.give_up_s
        connector = aiohttp.TCPConnector(limit=CLIENTS)
        limit = aiohttp.ClientTimeout(total=ATTEMPT_S)
        headers = {"Authorization": f"Bearer {self.key}", "Prefer": "respond-async"}
        opened = aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers)
        async with opened as session, asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(session, waiting))

    async def _client(self, session: aiohttp.ClientSession, waiting: deque[str]) -> None:
        while waiting:
            ref = waiting.popleft()
            while time.monotonic() < self._until:
                submission = await self._attempt(session, ref)
                self.history.append(submission)
                if submission.kind == "ok":
                    self.accepted.add(ref)
                    break
                await asyncio.sleep(PAUSE_S)
            if len(self.accepted) * 2 >= len(self.tasks):
                self.half.set()

    async def _attempt(self, session: aiohttp.ClientSession, ref: str) -> Submission:
        """The reference is the idempotency key, so that trying again may meet what an earlier attempt stored."""
        at_ms = int(time.time() * 1000)
        headers = {"Idempotency-Key": ref}
        try:
            async with session.post(f"{self.url}/v1/tasks", json=self.tasks[ref], headers=headers) as answer:
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            return Submission(ref, "info", None, at_ms, type(error).__name__)
        if answer.status in (200, 202):
            now_ms = int(time.time() * 1000)
            return Submission(ref, "ok", body.get("task_id"), at_ms, str(answer.status), answered_ms=now_ms)
        code = str(body.get("code"))
        certain = answer.status in SETTLED or code in ("log_full", "overloaded", "bus_disconnected")
        return Submission(ref, "fail" if certain else "info", None, at_ms, f"{answer.status} {code}")
