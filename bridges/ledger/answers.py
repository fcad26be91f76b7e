"""What the ledger answers. The tenant is in every WHERE."""

import base64
import binascii
from collections.abc import Awaitable
from typing import Final, TypeVar

import asyncpg

from bridges.ledger import statements
from bridges.ledger.settings import LedgerSettings
from bus.port import Call
from schemas.errors import InvalidRequest, NotFound, Unavailable
from schemas.ledger import LedgerGet, LedgerList, LedgerPage, LedgerTask
from schemas.message import decode
from schemas.result import Status, TaskResult

T = TypeVar("T")

_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The last: asyncpg 0.32 hands out a connection whose timed-out query the server has not yet let go of."""
_NEWEST: Final = (2**63 - 1, "")


class Answers:
    """Questions over a pool of read-only connections."""

    def __init__(self, pool: asyncpg.Pool, settings: LedgerSettings) -> None:
        self._pool = pool
        self._timeout_s = settings.query_timeout_s

    async def get(self, request: LedgerGet, call: Call) -> LedgerTask:
        """The task. Raises `NotFound`, also for another tenant's; `Unavailable` when PostgreSQL is away."""
        rows = await self._ask(self._fetch(statements.GET_TASK, request.tenant_id, request.task_id))
        if not rows:
            raise NotFound(f"there is no task {request.task_id}")
        return _task(rows[0])

    async def page(self, request: LedgerList, call: Call) -> LedgerPage:
        """A page, newest first. Raises `InvalidRequest` for a `before` that no page gave."""
        at_ms, task_id = decode_before(request.before) if request.before is not None else _NEWEST
        filters = (request.status, request.intent, request.since_ms, request.until_ms)
        asked = self._fetch(statements.LIST_TASKS, request.tenant_id, at_ms, task_id, request.limit + 1, *filters)
        rows = await self._ask(asked)
        tasks = tuple(_task(row) for row in rows[: request.limit])
        more = len(rows) > request.limit
        return LedgerPage(tasks=tasks, next=encode_before(tasks[-1]) if more else None)

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=self._timeout_s) as connection:
            return await connection.fetch(statement, *values)

    async def _ask(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except _AWAY as error:
            raise Unavailable(f"the ledger's database does not answer: {type(error).__name__}") from error


def encode_before(task: LedgerTask) -> str:
    """Where the page after `task` starts: opaque to clients."""
    return base64.urlsafe_b64encode(f"{task.accepted_at_ms}:{task.task_id}".encode()).decode()


def decode_before(before: str) -> tuple[int, str]:
    """The key behind `before`."""
    try:
        at_ms, _, task_id = base64.b64decode(before, altchars=b"-_", validate=True).decode("ascii").partition(":")
        key = int(at_ms)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"before={before[:80]!r} is not the next of a page: leave it out to start anew") from error
    if not 0 <= key < 2**63 or "\0" in task_id:
        raise InvalidRequest(f"before={before[:80]!r} is not the next of a page: leave it out to start anew")
    return key, task_id


def _task(row: asyncpg.Record) -> LedgerTask:
    return LedgerTask(
        tenant_id=row["tenant_id"],
        task_id=row["task_id"],
        intent=row["intent"],
        state=row["state"],
        status=Status(row["status"]) if row["status"] else None,
        accepted_at_ms=row["accepted_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        cost_nanousd=row["cost_nanousd"],
        result=decode(row["result"], TaskResult) if row["result"] else None,
    )
