"""`aionctl key`: issue, list, rotate and revoke API keys. The auth actor does it; this asks and shows."""

import time
from collections.abc import Sequence
from typing import Any, Final

from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit, table, talk
from actors.cli.session import VISIT_TIMEOUT_S, ask, visit
from bus import Bus
from bus.questions import AUTH_KEY_CREATE, AUTH_KEY_REVOKE, AUTH_KEY_ROTATE
from bus.subjects import KEYS
from schemas import scopes
from schemas.errors import InvalidRequest
from schemas.identity import KeyCreate, KeyIssued, KeyRevoke, KeyRotate
from schemas.ids import subject_token
from schemas.message import changed, decode, plain
from schemas.registry import ApiKeyRecord
from schemas.scopes import Scope

WAIT_S: Final = 5.0
"""How long an auth actor that is just starting is waited for."""
_DAY_MS: Final = 86_400_000
COLUMNS = ("key_id", "tenant_id", "scopes", "created", "expires", "revoked", "note")


def create(
    *,
    tenant: str,
    scope: Sequence[Scope] = scopes.DEFAULT,
    note: str = "",
    expires_days: float | None = None,
    wait_s: float = WAIT_S,
    as_json: Json = False,
) -> int:
    """Issue an API key for a tenant; its text is shown now and never again.

    Parameters
    ----------
    tenant
        Whose tasks the key reaches.
    scope
        What it may do; may be given several times.
    note
        What the key is for.
    expires_days
        Days until it stops working; without it, never.
    wait_s
        Seconds to wait for an auth actor.
    """
    if expires_days is not None and expires_days <= 0:
        raise InvalidRequest(f"--expires-days {expires_days:g} is over already: use more than 0")
    asked = KeyCreate(tenant_id=subject_token(tenant), scopes=tuple(scope), note=note)
    lasts_ms = None if expires_days is None else round(expires_days * _DAY_MS)

    async def issue(bus: Bus) -> KeyIssued:
        expires_ms = None if lasts_ms is None else bus.now_ms() + lasts_ms
        return await ask(bus, AUTH_KEY_CREATE, changed(asked, expires_at_ms=expires_ms), wait_s=wait_s)

    issued = visit(issue, timeout_s=VISIT_TIMEOUT_S + wait_s)
    return _show(issued, as_json=as_json)


def ls(*, as_json: Json = False) -> int:
    """List the API keys, without their secrets."""
    records = sorted(visit(_read_all), key=lambda record: record.created_at_ms)
    rows = [_shown(record) for record in records]
    text = table(COLUMNS, [row | _for_people(record) for row, record in zip(rows, records, strict=True)])
    emit(rows, as_json=as_json, text=text)
    return Exit.OK


def rotate(key_id: str, /, *, overlap_hours: float = 24.0, as_json: Json = False) -> int:
    """Issue a key with the same tenant, scopes and lifetime; the old one works until the overlap is over.

    Parameters
    ----------
    key_id
        The id that key ls shows, the second part of the key's text.
    overlap_hours
        Hours in which both work; 0 ends the old one at once.
    """
    if overlap_hours < 0:
        raise InvalidRequest(f"--overlap-hours {overlap_hours:g} is in the past: use 0 or more")
    asked = KeyRotate(key_id=subject_token(key_id), overlap_s=round(overlap_hours * 3600))
    issued = visit(lambda bus: ask(bus, AUTH_KEY_ROTATE, asked, wait_s=WAIT_S))
    talk(f"{key_id} works until {at(issued.replaced_expires_at_ms)}.")
    return _show(issued, as_json=as_json)


def revoke(key_id: str, /, *, as_json: Json = False) -> int:
    """Revoke an API key; every edge refuses it from then on.

    Parameters
    ----------
    key_id
        The id that key ls shows, the second part of the key's text.
    """
    asked = KeyRevoke(key_id=subject_token(key_id))
    visit(lambda bus: ask(bus, AUTH_KEY_REVOKE, asked, wait_s=WAIT_S))
    emit({"key_id": key_id, "revoked": True}, as_json=as_json, text=f"{key_id} revoked")
    return Exit.OK


def at(unix_ms: int | None) -> str:
    """A time for people, in UTC."""
    return "for ever" if unix_ms is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_ms / 1000))


async def _read_all(bus: Bus) -> Sequence[ApiKeyRecord]:
    async with bus.kv.view(KEYS) as view:
        return [decode(value, ApiKeyRecord) for name, value in view.items() if name.startswith("apikey.")]


def _show(issued: KeyIssued, *, as_json: bool) -> int:
    emit(plain(issued), as_json=as_json, text=issued.key)
    talk("Keep it now: only its hash is stored.")
    return Exit.OK


def _for_people(record: ApiKeyRecord) -> dict[str, object]:
    return {
        "scopes": " ".join(record.scopes),
        "created": _date(record.created_at_ms),
        "expires": "never" if record.expires_at_ms is None else _date(record.expires_at_ms),
        "revoked": "yes" if record.revoked else "no",
        "note": record.note or None,
    }


def _date(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))


def _shown(record: ApiKeyRecord) -> dict[str, Any]:
    """All but the digest of the secret."""
    return {name: value for name, value in plain(record).items() if name not in ("secret_sha256", "pepper_id")}
