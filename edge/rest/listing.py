"""What there is: a tenant's tasks, the intents that are answered, the engines that live."""

import json
import re
from datetime import datetime
from typing import Final, cast, get_args

from aiohttp import web
from multidict import MultiMapping

from edge.http.answer import Answer
from edge.http.front import tenant_of
from edge.tasks.catalogue import Catalogue
from edge.tasks.desk import Desk
from schemas.errors import InvalidRequest
from schemas.ids import NAME_PATTERN, TenantId
from schemas.ledger import LedgerList, LedgerTask, Progress
from schemas.money import NANOUSD_PER_USD

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 500

_FILTERS: Final = ("status", "intent", "since", "until", "limit", "cursor")
_NAME: Final = re.compile(NAME_PATTERN)
_CURSOR: Final = re.compile(r"[A-Za-z0-9_=-]{1,200}")
_LATEST_MS: Final = 2**53


class Listing:
    """Answers for what is not one task."""

    def __init__(self, desk: Desk, catalogue: Catalogue) -> None:
        self._desk = desk
        self._catalogue = catalogue

    async def tasks(self, request: web.BaseRequest) -> Answer:
        """A page of the tenant's tasks, newest first, as the ledger knows them."""
        page = await self._desk.page(read_filters(request.query, tenant_of(request)))
        body = {"tasks": [shown(task) for task in page.tasks], "next": page.next}
        return Answer(json.dumps(body).encode())

    async def intents(self, _request: web.BaseRequest) -> Answer:
        """Every intent with who answers it."""
        return Answer(json.dumps({"intents": self._catalogue.listing()}).encode())

    async def engines(self, _request: web.BaseRequest) -> Answer:
        """Every engine over its live instances."""
        return Answer(json.dumps({"engines": self._catalogue.engine_listing()}).encode())


def read_filters(query: MultiMapping[str], tenant_id: TenantId) -> LedgerList:
    """The question that a query string asks. Raises `InvalidRequest` for a filter that is unknown, doubled or wrong."""
    for name in query:
        if name not in _FILTERS:
            raise InvalidRequest(f"{name[:40]!r} is no filter: use {', '.join(_FILTERS)}")
        if len(query.getall(name)) > 1:
            raise InvalidRequest(f"{name} is given twice: keep one of them")
    status, intent, cursor = query.get("status"), query.get("intent"), query.get("cursor")
    if status is not None and status not in get_args(Progress):
        raise InvalidRequest(f"status={status[:40]!r}: use one of {', '.join(get_args(Progress))}")
    if intent is not None and not _NAME.fullmatch(intent):
        raise InvalidRequest(f"intent={intent[:80]!r} is not the name of an intent")
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise InvalidRequest(f"cursor={cursor[:80]!r} is not the next of a page: leave it out to start anew")
    return LedgerList(
        tenant_id=tenant_id,
        status=cast("Progress | None", status),
        intent=intent,
        since_ms=_read_time("since", query.get("since")),
        until_ms=_read_time("until", query.get("until")),
        limit=_read_limit(query.get("limit")),
        before=cursor,
    )


def shown(task: LedgerTask) -> dict[str, object]:
    """A task of a page: what it was and how it ended, its result left out."""
    return {
        "task_id": task.task_id,
        "intent": task.intent,
        "status": task.status.value if task.status is not None else "RUNNING",
        "state": task.state,
        "accepted_at_ms": task.accepted_at_ms,
        "ended_at_ms": task.ended_at_ms,
        "cost_usd": task.cost_nanousd / NANOUSD_PER_USD,
    }


def _read_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(f"limit={text[:40]!r}: use 1 to {MAX_LIMIT}")
    return int(text)


def _read_time(name: str, text: str | None) -> int | None:
    """Unix milliseconds, or RFC 3339 with its offset."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,16}", text, re.ASCII) and int(text) < _LATEST_MS:
        return int(text)
    try:
        at = datetime.fromisoformat(text[:40])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.timestamp() < 0:
        raise InvalidRequest(f"{name}={text[:40]!r}: use Unix milliseconds or a time such as 2026-11-23T20:00:00Z")
    return round(at.timestamp() * 1000)
