"""Connections to PostgreSQL, each with its deadlines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bridges.ledger.settings import LedgerSettings


@asynccontextmanager
async def writing_connection(settings: LedgerSettings) -> AsyncIterator[asyncpg.Connection]:
    """The projection's own connection; the server gives up on a statement before the client does."""
    connection = await asyncpg.connect(
        settings.url.get_secret_value(),
        timeout=settings.connect_timeout_s,
        command_timeout=settings.write_timeout_s + 1,
        server_settings={
            "application_name": "aion-ledger",
            # A crash of the server takes rows and position back together; what it took is read from the log again.
            "synchronous_commit": "off",
            "statement_timeout": _ms(settings.write_timeout_s),
            "idle_in_transaction_session_timeout": _ms(settings.write_timeout_s),
            # Of a ledger that hangs or lost its way here: its claim to write ends with its session.
            "idle_session_timeout": _ms(settings.silence_s),
        },
    )
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=settings.connect_timeout_s)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


@asynccontextmanager
async def query_pool(settings: LedgerSettings) -> AsyncIterator[asyncpg.Pool]:
    """Connections for questions, made when first needed, so that the actor starts without PostgreSQL."""
    async with asyncpg.create_pool(
        settings.url.get_secret_value(),
        min_size=0,
        max_size=settings.query_connections,
        timeout=settings.connect_timeout_s,
        command_timeout=settings.query_timeout_s,
        server_settings={
            "application_name": "aion-ledger-query",
            "statement_timeout": _ms(settings.query_timeout_s),
            "default_transaction_read_only": "on",
        },
    ) as pool:
        yield pool


def _ms(seconds: float) -> str:
    return str(max(1, int(seconds * 1000)))
