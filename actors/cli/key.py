"""`aionctl key`: issue, list and revoke API keys in the bucket `KEYS`."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit, table, talk
from actors.cli.session import visit
from bus import Bus
from bus.subjects import KEYS
from schemas import keys
from schemas.errors import InvalidRequest, NotFound
from schemas.ids import TenantId
from schemas.message import changed, decode, encode, plain
from schemas.registry import ApiKeyRecord

_DAY_MS = 86_400_000
COLUMNS = ("key_id", "tenant_id", "created", "expires", "revoked", "note")


def create(*, tenant: str, note: str = "", expires_days: float | None = None, as_json: Json = False) -> int:
    """Issue an API key for a tenant; its text is shown now and never again.

    Parameters
    ----------
    tenant
        Whose tasks the key reaches.
    note
        What the key is for.
    expires_days
        Days until it stops working; without it, never.
    """
    if expires_days is not None and expires_days <= 0:
        raise InvalidRequest(f"--expires-days {expires_days:g} is over already: use more than 0")
    expires_ms = None if expires_days is None else _now_ms() + round(expires_days * _DAY_MS)

    async def issue(bus: Bus) -> tuple[str, ApiKeyRecord]:
        return await issue_key(bus, TenantId(tenant), note=note, expires_at_ms=expires_ms)

    text, record = visit(issue)
    data = {"key": text, **_shown(record)}
    emit(data, as_json=as_json, text=text)
    talk("Keep it now: only its hash is stored.")
    return Exit.OK


def ls(*, as_json: Json = False) -> int:
    """List the API keys, without their secrets."""
    records = sorted(visit(_read_all), key=lambda record: record.created_at_ms)
    rows = [_shown(record) for record in records]
    text = table(COLUMNS, [row | _dates(record) for row, record in zip(rows, records, strict=True)])
    emit(rows, as_json=as_json, text=text)
    return Exit.OK


def revoke(key_id: str, /, *, as_json: Json = False) -> int:
    """Revoke an API key; every edge refuses it from then on.

    Parameters
    ----------
    key_id
        The id that key ls shows, the second part of the key's text.
    """

    async def work(bus: Bus) -> None:
        stored = await bus.kv.get(KEYS, keys.record_key(key_id))
        if stored is None:
            raise NotFound(f"there is no API key {key_id}: aionctl key ls shows all")
        record = changed(decode(stored.value, ApiKeyRecord), revoked=True)
        await bus.kv.put(KEYS, keys.record_key(key_id), encode(record))

    visit(work)
    emit({"key_id": key_id, "revoked": True}, as_json=as_json, text=f"{key_id} revoked")
    return Exit.OK


async def issue_key(
    bus: Bus, tenant_id: TenantId, *, note: str = "", expires_at_ms: int | None = None
) -> tuple[str, ApiKeyRecord]:
    """The text and the stored record of a fresh key."""
    text, record = keys.mint(
        tenant_id, _now_ms(), secrets.token_bytes(keys.RANDOM_BYTES), note=note, expires_at_ms=expires_at_ms
    )
    await bus.kv.create(KEYS, keys.record_key(record.key_id), encode(record))
    return text, record


async def _read_all(bus: Bus) -> Sequence[ApiKeyRecord]:
    async with bus.kv.view(KEYS) as view:
        return [decode(value, ApiKeyRecord) for name, value in view.items() if name.startswith("apikey.")]


def _dates(record: ApiKeyRecord) -> dict[str, object]:
    expires = "never" if record.expires_at_ms is None else _date(record.expires_at_ms)
    return {
        "created": _date(record.created_at_ms),
        "expires": expires,
        "revoked": "yes" if record.revoked else "no",
        "note": record.note or None,
    }


def _date(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shown(record: ApiKeyRecord) -> dict[str, Any]:
    """All but the digest of the secret."""
    return {name: value for name, value in plain(record).items() if name != "secret_sha256"}
