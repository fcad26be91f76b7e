"""The ledger as an actor."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from actors.runtime.actor import Actor, Context
from bridges.ledger.answers import Answers
from bridges.ledger.connect import query_pool
from bridges.ledger.settings import LedgerSettings
from bridges.ledger.sink import LedgerSink, open_ledger_sink
from bridges.projection import Projection
from bus.port import Answer
from bus.questions import LEDGER_GET, LEDGER_LIST


class Ledger(Actor):
    """The log as tables, and answers about tasks the log no longer holds. Any number may run; one writes at a time."""

    name = "ledger"
    section: ClassVar[str] = "postgres"
    description = "tasks, bills and audit in PostgreSQL"
    settings_type = LedgerSettings
    settings: LedgerSettings

    def __init__(self, context: Context, settings: LedgerSettings) -> None:
        super().__init__(context, settings)
        self._projection = Projection(self.name, context, self._open, settings)
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

    async def run(self) -> None:
        """Project until drained. Raises what the projection raises."""
        await self._projection.run()

    def ready(self) -> str | None:
        """None once the tables answered and their position fits the log."""
        return self._projection.ready()

    def status(self) -> Mapping[str, object]:
        """The projection's figures."""
        return self._projection.status()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[LedgerSink]:
        async with open_ledger_sink(self.settings) as sink:
            yield sink
