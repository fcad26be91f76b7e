"""The ledger as an actor."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

from actors.runtime.actor import Context
from bridges.bridge import Bridge
from bridges.ledger.answers import Answers
from bridges.ledger.connect import query_pool
from bridges.ledger.settings import LedgerSettings
from bridges.ledger.sink import LedgerSink, open_ledger_sink
from bus.port import Answer
from bus.questions import LEDGER_GET, LEDGER_LIST


class Ledger(Bridge):
    """The log as tables, and answers about tasks the log no longer holds. Any number may run; one writes at a time."""

    name = "ledger"
    section: ClassVar[str] = "postgres"
    description = "tasks, bills and audit in PostgreSQL"
    settings_type = LedgerSettings
    settings: LedgerSettings

    def __init__(self, context: Context, settings: LedgerSettings) -> None:
        super().__init__(context, settings)
        self._answers: Answers | None = None

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Hold the connections for questions."""
        async with query_pool(self.settings) as pool:
            self._answers = Answers(pool, self.settings)
            yield

    def answers(self) -> Sequence[Answer[Any, Any]]:
        """`ledger.get` and `ledger.list`; as many at once as there are connections."""
        if self._answers is None:
            raise RuntimeError("answers() is asked inside lifespan()")
        concurrency = self.settings.query_connections
        return (
            Answer(LEDGER_GET, self._answers.get, concurrency=concurrency),
            Answer(LEDGER_LIST, self._answers.page, concurrency=concurrency),
        )

    def open_sink(self) -> AbstractAsyncContextManager[LedgerSink]:
        """A sink over a fresh connection, the tables migrated."""
        return open_ledger_sink(self.settings)
