"""The ledger's answers when the database's client gives up in its own ways."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from bridges.ledger.answers import Answers
from bridges.ledger.settings import LedgerSettings
from bus.port import Call
from schemas.errors import Unavailable
from schemas.ledger import LedgerGet


class BrokenPool:
    """A pool whose connections fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator["BrokenPool"]:
        yield self

    async def fetch(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
)
async def test_whatever_the_client_of_the_database_says_the_ledger_is_unavailable(error: Exception) -> None:
    pool: Any = BrokenPool(error)
    answers = Answers(pool, LedgerSettings())
    with pytest.raises(Unavailable, match=type(error).__name__):
        await answers.get(LedgerGet(tenant_id="acme", task_id="t1"), Call(deadline_ms=0))
