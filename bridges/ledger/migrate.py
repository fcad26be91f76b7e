"""The tables' versions: numbered SQL files, each applied once, in order, and never changed afterwards."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg

from schemas.errors import Misconfigured

LOCK: Final = 0x41494F4E  # "AION": whoever holds it migrates
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """What tells an altered file."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> tuple[Migration, ...]:
    """Those that come with this version of AION, in order."""
    found = [
        Migration(int(match[1]), item.name, item.read_text(encoding="utf-8"))
        for item in files("bridges.ledger").joinpath("migrations").iterdir()
        if (match := _NAME.fullmatch(item.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


async def migrate(connection: asyncpg.Connection, wanted: tuple[Migration, ...], *, timeout_s: float) -> int:
    """How many were applied now. Any number of processes may call it at once; one of them does the work.

    Raises `Misconfigured` when an applied file was altered, or the database is newer than this program.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=timeout_s)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS ledger_migrations (version integer PRIMARY KEY, name text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
            timeout=timeout_s,
        )
        absent = missing(await applied_of(connection, timeout_s=timeout_s), wanted)
        for migration in absent:
            await connection.execute(migration.sql, timeout=timeout_s)
            await connection.execute(
                "INSERT INTO ledger_migrations (version, name, sha256) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.sha256,
                timeout=timeout_s,
            )
    return len(absent)


async def applied_of(connection: asyncpg.Connection, *, timeout_s: float) -> dict[int, str]:
    """The versions that the database has, with their digests; none when AION never migrated it."""
    if await connection.fetchval("SELECT to_regclass('ledger_migrations')", timeout=timeout_s) is None:
        return {}
    rows = await connection.fetch("SELECT version, sha256 FROM ledger_migrations", timeout=timeout_s)
    return {row["version"]: row["sha256"] for row in rows}


def missing(applied: Mapping[int, str], wanted: Sequence[Migration]) -> tuple[Migration, ...]:
    """Those of `wanted` that were not applied, in order.

    Raises `Misconfigured` when an applied file was altered, or the database is newer than this program.
    """
    known = {migration.version: migration for migration in wanted}
    for version, sha256 in sorted(applied.items()):
        if version not in known:
            raise Misconfigured(f"the ledger's database is at version {version}, newer than this AION: upgrade AION")
        if known[version].sha256 != sha256:
            raise Misconfigured(
                f"migration {known[version].name} was altered after it was applied: restore it, and put the change "
                "into a new file"
            )
    return tuple(migration for migration in wanted if migration.version not in applied)
