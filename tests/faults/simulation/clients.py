"""Those who hand in tasks: impatient, twice at once, with a change of mind. They remember every answer."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from checker.history import Reading, Submission
from simulation.http import Response, ask
from simulation.network import Network
from simulation.sandbox import INTENT
from simulation.server import Figures, now_ms

from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode

TENANTS = ("acme", "zeta")
SETTLED = frozenset({400, 401, 403, 404, 409, 413, 422, 429})
"""Refusals that are certain, as in the fault tests' clients; a 503 is one only when it says that the log is full."""
PAUSE_S = 0.2
GIVE_UP_S = 20.0


class Credential(NamedTuple):
    """A tenant's API key: its text, and the record the edges look it up in."""

    text: str
    key: str
    record: bytes


def credentials() -> dict[str, Credential]:
    """One per tenant, the same in every run."""
    found = {}
    for tenant in TENANTS:
        text, record = mint(TenantId(tenant), 0, Random(tenant).randbytes(RANDOM_BYTES))
        found[tenant] = Credential(text, record_key(record.key_id), encode(record))
    return found


CREDENTIALS = credentials()


class Answer(NamedTuple):
    """A terminal result that somebody was given."""

    tenant: str
    task_id: str
    verb: str
    at_ms: int
    body: bytes


@dataclass(frozen=True)
class Job:
    """One task as a client wants it. `copies` clients hand it in at once; `change_s` later it is handed in again."""

    ref: str
    tenant: str
    body: dict[str, Any]
    at_s: float
    keyed: bool
    wait_s: int | None
    patience_s: float
    copies: int = 1
    cancel_after_s: float | None = None
    again_after_s: float | None = None
    misuse_after_s: float | None = None


def jobs(rng: Random, count: int, within_s: float) -> list[Job]:
    """A mix of everything a client may do."""
    return [_job(rng, number, within_s) for number in range(count)]


def _job(rng: Random, number: int, within_s: float) -> Job:
    ref = f"r{number}"
    work_s = rng.choice((0.001, 0.01, 0.05, 0.5, 3.0))
    body: dict[str, Any] = {
        "intent": INTENT,
        "params": {"text": f"text {number}", "work_s": work_s},
        "priority": rng.choice(("high", "normal", "low")),
        "sla": {"timeout_s": rng.choice((0.05, 0.5, 2.0, 5.0, 12.0, 19.0, 19.0))},
        "metadata": {"ref": ref},
    }
    does = rng.choice(("", "", "", "", "trap", "busy", "babble", "wrong", "kill"))
    if does == "wrong":
        body["params"] = {"txt": "no text"}
    elif does:
        body["params"]["does"] = does
    keyed = rng.random() < 0.85
    return Job(
        ref=ref,
        tenant=rng.choice(TENANTS),
        body=body,
        at_s=rng.random() * within_s,
        keyed=keyed,
        wait_s=rng.choice((None, None, 2, 10)),
        patience_s=rng.choice((0.05, 4.0, 8.0, 12.0)) if rng.random() < 0.2 else 8.0,
        copies=2 if keyed and rng.random() < 0.15 else 1,
        cancel_after_s=rng.choice((0.0, work_s, rng.random() * 2)) if rng.random() < 0.3 else None,
        again_after_s=rng.random() * 10 if keyed and rng.random() < 0.2 else None,
        misuse_after_s=rng.random() * 5 if keyed and rng.random() < 0.1 else None,
    )


@dataclass
class Clients:
    """Runs jobs against the edges on `ports`, and remembers."""

    network: Network
    ports: Sequence[int]
    rng: Random
    figures: Figures
    submissions: list[Submission] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    """What was asked to be cancelled."""
    _owners: dict[str, str] = field(default_factory=dict)

    async def run(self, wanted: Sequence[Job]) -> None:
        """Returns when every job is over, accepted or given up."""
        async with asyncio.TaskGroup() as group:
            for job in wanted:
                for _ in range(job.copies):
                    group.create_task(self._job(job))

    async def _job(self, job: Job) -> None:
        await asyncio.sleep(job.at_s)
        task_id = await self._until_accepted(job)
        if task_id is None:
            return
        async with asyncio.TaskGroup() as group:
            if job.cancel_after_s is not None:
                group.create_task(self._cancel(job, task_id, job.cancel_after_s))
            if job.again_after_s is not None:
                group.create_task(self._again(job, job.again_after_s))
            if job.misuse_after_s is not None:
                group.create_task(self._misuse(job, job.misuse_after_s))

    async def _until_accepted(self, job: Job) -> str | None:
        """Only who has a key may try again after an answer that leaves it open."""
        until_s = asyncio.get_running_loop().time() + GIVE_UP_S
        while asyncio.get_running_loop().time() < until_s:
            submission = await self._submit(job, job.body, job.ref)
            if submission.kind == "ok":
                return submission.task_id
            if submission.kind == "info" and not job.keyed:
                return None
            await asyncio.sleep(PAUSE_S)
        return None

    async def _again(self, job: Job, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.figures.count("resubmission under a key")
        await self._submit(job, job.body, job.ref)

    async def _misuse(self, job: Job, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.figures.count("key reused for another task")
        ref = f"{job.ref}-other"
        await self._submit(job, {**job.body, "metadata": {"ref": ref}}, ref)

    async def _submit(self, job: Job, body: dict[str, Any], ref: str) -> Submission:
        at_ms = now_ms()
        headers = {"Prefer": "respond-async" if job.wait_s is None else f"wait={job.wait_s}"}
        if job.keyed:
            headers["Idempotency-Key"] = job.ref
        try:
            response = await self._ask(job, "POST /v1/tasks", headers, json.dumps(body).encode(), job.patience_s)
        except (ConnectionError, TimeoutError) as error:
            self.figures.count("client hung up" if isinstance(error, TimeoutError) else "client lost its connection")
            submission = Submission(ref, "info", None, at_ms, type(error).__name__)
        else:
            submission = self._judged(job, ref, at_ms, response)
        submission = submission._replace(timeout_ms=round(body["sla"]["timeout_s"] * 1000))
        self.submissions.append(submission)
        return submission

    def _judged(self, job: Job, ref: str, at_ms: int, response: Response) -> Submission:
        answer = json.loads(response.body)
        if response.status in (200, 202):
            task_id = answer["task_id"]
            self._owners[task_id] = job.tenant
            if response.status == 200:
                self.answers.append(Answer(job.tenant, task_id, "submit", now_ms(), response.body))
            return Submission(ref, "ok", task_id, at_ms, str(response.status), answered_ms=now_ms())
        self.figures.count(f"client saw {response.status}")
        code = str(answer.get("code"))
        certain = response.status in SETTLED or code in ("log_full", "overloaded", "bus_disconnected")
        return Submission(ref, "fail" if certain else "info", None, at_ms, f"{response.status} {code}")

    async def _cancel(self, job: Job, task_id: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.readings.append(Reading(job.tenant, task_id, now_ms(), "cancel", 0))
        try:
            response = await self._ask(job, f"POST /v1/tasks/{task_id}/cancel", {}, b"", 8.0)
        except (ConnectionError, TimeoutError):
            return
        if response.status == 200:
            self.figures.count("cancelled by a client")
            self.answers.append(Answer(job.tenant, task_id, "cancel", now_ms(), response.body))

    async def read(self) -> None:
        """At rest: ask for every other task that somebody was told is accepted."""
        for task_id, tenant in list(self._owners.items())[::2]:
            headers = {"Authorization": f"Bearer {CREDENTIALS[tenant].text}"}
            response = await ask(self.network, self.ports[0], f"GET /v1/tasks/{task_id}", headers, b"", 8.0)
            if response.status == 200 and b'"RUNNING"' not in response.body:
                self.answers.append(Answer(tenant, task_id, "get", now_ms(), response.body))

    async def _ask(self, job: Job, line: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Response:
        headers["Authorization"] = f"Bearer {CREDENTIALS[job.tenant].text}"
        port = self.ports[int(self.rng.random() * len(self.ports))]
        return await ask(self.network, port, line, headers, body, timeout_s)
