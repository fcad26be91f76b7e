"""Whether PostgreSQL answers and its tables are at this program's version."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from bridges.ledger.connect import writing_connection
from bridges.ledger.migrate import applied_of, migrations, missing
from bridges.ledger.settings import LedgerSettings
from schemas.errors import Misconfigured
from schemas.finding import Finding

TIMEOUT_S: Final = 3.0
_START: Final = "aionctl servers up, or set AION_POSTGRES__URL"


async def examine(settings: LedgerSettings) -> Sequence[Finding]:
    """The connection and the migrations; nothing is changed."""
    brief = settings.model_copy(update={"connect_timeout_s": TIMEOUT_S})
    try:
        async with writing_connection(brief) as connection:
            version = await connection.fetchval("SHOW server_version", timeout=TIMEOUT_S)
            database = await connection.fetchval("SELECT current_database()", timeout=TIMEOUT_S)
            reached = Finding(name="postgres", ok=True, found=f"PostgreSQL {version}, database {database}")
            return [reached, await _tables(connection)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, OSError) as error:
        found = f"no connection: {error or f'nothing came within {TIMEOUT_S:g} s'}"
        return [Finding(name="postgres", ok=False, found=found, fix=_START)]


async def _tables(connection: asyncpg.Connection) -> Finding:
    wanted = migrations()
    try:
        absent = missing(await applied_of(connection, timeout_s=TIMEOUT_S), wanted)
    except Misconfigured as error:
        return Finding(name="migrations", ok=False, found=error.message, fix="install the AION that made these tables")
    if absent:
        found = f"{', '.join(migration.name for migration in absent)} not applied"
        return Finding(name="migrations", ok=False, found=found, fix="aionctl run ledger applies them")
    return Finding(name="migrations", ok=True, found=f"at version {wanted[-1].version}")
