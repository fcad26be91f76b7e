"""PostgreSQL as a sink: rows and position in one transaction."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from bridges.ledger import statements
from bridges.ledger.connect import writing_connection
from bridges.ledger.fold import AuditRow, DeadEntry, Folded, TaskRow, UsageRow, fold
from bridges.ledger.migrate import migrate, migrations
from bridges.ledger.settings import LedgerSettings
from bridges.position import Batch, Position
from schemas.errors import Conflict

PROJECTION = "ledger"
WRITES: Final = 0x41494F4E57
"""The advisory lock "AIONW" of a database: whoever holds it writes."""

HANDFUL: Final = 256
"""Events that are folded before others get their turn: a few milliseconds."""


class LedgerSink:
    """One connection's life.

    Any number of ledgers may run: the one whose connection holds an advisory lock writes. That only keeps them from
    fighting; what is promised rests on the position, which is moved by compare-and-set before anything else is
    written, so one that comes second gets `Conflict`, writes nothing, and reads the position again.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._claimed = False
        self._prepared: tuple[Batch, Folded] | None = None

    async def claim(self) -> bool:
        """Whether this connection holds the lock; the server frees it when the connection ends or falls silent."""
        if self._claimed:
            await self._connection.execute("SELECT")  # tells the server that this writer lives
        else:
            self._claimed = bool(await self._connection.fetchval(statements.CLAIM, WRITES))
        return self._claimed

    async def position(self) -> Position | None:
        """The row that the last committed batch left."""
        row = await self._connection.fetchrow(statements.READ_POSITION, PROJECTION)
        return Position(row["sequence"], row["created"], row["event_id"]) if row else None

    async def prepare(self, batch: Batch) -> None:
        """Fold the batch, a handful of events at a time."""
        self._prepared = batch, await self._fold(batch)

    async def write(self, batch: Batch) -> None:
        """All rows of the batch and its position, or none."""
        folded = await self._folded_of(batch)
        async with self._connection.transaction():
            await self._move(batch)
            await self._insert(folded)

    async def _folded_of(self, batch: Batch) -> Folded:
        prepared, self._prepared = self._prepared, None
        return prepared[1] if prepared is not None and prepared[0] is batch else await self._fold(batch)

    async def _fold(self, batch: Batch) -> Folded:
        folded = Folded()
        for start in range(0, len(batch.entries), HANDFUL):
            fold(batch.entries[start : start + HANDFUL], folded)
            await asyncio.sleep(0)
        return folded

    async def _move(self, batch: Batch) -> None:
        to = batch.up_to
        values: list[object] = [PROJECTION, to.sequence, to.created, to.event_id]
        if batch.after is None:
            done = await self._connection.execute(statements.FIRST_POSITION, *values)
        else:
            values += [batch.after.sequence, batch.after.event_id]
            done = await self._connection.execute(statements.MOVE_POSITION, *values)
        if not done.endswith(" 1"):
            at = batch.after.sequence if batch.after else 0
            raise Conflict(f"the ledger is no longer at {at}: another ledger wrote first")

    async def _insert(self, folded: Folded) -> None:
        for statement, kind, rows in _rows(folded):
            if rows:
                await self._connection.execute(statement, *statements.arrays(kind, rows))


def _rows(folded: Folded) -> Sequence[tuple[str, type[Any], Sequence[Any]]]:
    tasks = [folded.tasks[key] for key in sorted(folded.tasks)]
    return (
        (statements.UPSERT_TASKS, TaskRow, tasks),
        (statements.INSERT_USAGE, UsageRow, folded.usage),
        (statements.INSERT_AUDIT, AuditRow, folded.audit),
        (statements.INSERT_UNREADABLE, DeadEntry, folded.unreadable),
    )


@asynccontextmanager
async def open_ledger_sink(settings: LedgerSettings) -> AsyncIterator[LedgerSink]:
    """A sink over a fresh connection, its tables at this program's version."""
    async with writing_connection(settings) as connection:
        await migrate(connection, migrations(), timeout_s=settings.write_timeout_s)
        yield LedgerSink(connection)
