"""Issues, rotates and revokes API keys."""

from collections.abc import Callable
from typing import Final, TypeAlias

from actors.auth.audit import Audit
from actors.runtime import Context
from bus.port import Call
from bus.subjects import KEYS
from schemas import keys
from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.identity import KeyCreate, KeyIssued, KeyRevoke, KeyRevoked, KeyRotate
from schemas.ids import TenantId
from schemas.keys import Pepper, in_force, mint, record_key
from schemas.message import changed, decode, encode
from schemas.registry import ApiKeyRecord

_TRIES: Final = 5
Change: TypeAlias = Callable[[ApiKeyRecord], ApiKeyRecord]


class ApiKeys:
    """The only writer of `apikey.*` in `KEYS`. A key's text is in one answer and nowhere else."""

    def __init__(self, context: Context, audit: Audit, pepper: Pepper | None) -> None:
        self._context = context
        self._audit = audit
        self._pepper = pepper

    async def create(self, asked: KeyCreate, _call: Call) -> KeyIssued:
        """A fresh key. Raises `InvalidRequest`."""
        now_ms = self._context.now_ms()
        if asked.tenant_id.startswith("_"):
            raise InvalidRequest(f"{asked.tenant_id} is no tenant's name: those that start with _ are AION's own")
        if asked.expires_at_ms is not None and asked.expires_at_ms <= now_ms:
            raise InvalidRequest("that key would have expired already: choose a later time")
        if not asked.scopes:
            raise InvalidRequest("a key without scopes opens nothing: name some")
        text, record = self._mint(asked, now_ms)
        await self._store("key_issued", record)
        return _issued(text, record)

    async def rotate(self, asked: KeyRotate, _call: Call) -> KeyIssued:
        """A key with the same tenant, scopes, note and lifetime; the old one ends when the overlap does."""
        now_ms = self._context.now_ms()
        old, _ = await self._get(asked.key_id)
        if not in_force(old, now_ms):
            raise Conflict(f"API key {old.key_id} was revoked or has expired: create another with aionctl key create")
        lasts_ms = None if old.expires_at_ms is None else old.expires_at_ms - old.created_at_ms
        like = KeyCreate(
            tenant_id=old.tenant_id,
            scopes=old.scopes,
            note=old.note,
            expires_at_ms=None if lasts_ms is None else now_ms + lasts_ms,
        )
        text, record = self._mint(like, now_ms)
        await self._store("key_rotated", record, replaces=old.key_id, overlap_s=str(asked.overlap_s))
        ends_ms = now_ms + asked.overlap_s * 1000
        ended = await self._change(old.key_id, lambda found: _ending(found, ends_ms))
        answer = _issued(text, record)
        return changed(answer, replaces=old.key_id, replaced_expires_at_ms=ended.expires_at_ms)

    async def revoke(self, asked: KeyRevoke, _call: Call) -> KeyRevoked:
        """Revoked at once, then told; a repeat changes nothing. Raises `NotFound`."""
        before, _ = await self._get(asked.key_id)
        if not before.revoked:
            record = await self._change(asked.key_id, lambda found: changed(found, revoked=True))
            await self._audit.tell("key_revoked", record.tenant_id, f"key:{record.key_id}")
        return KeyRevoked(key_id=asked.key_id)

    def _mint(self, asked: KeyCreate, now_ms: int) -> tuple[str, ApiKeyRecord]:
        return mint(
            TenantId(asked.tenant_id),
            now_ms,
            self._context.rng.randbytes(keys.RANDOM_BYTES),
            note=asked.note,
            expires_at_ms=asked.expires_at_ms,
            granted=asked.scopes,
            pepper=self._pepper,
        )

    async def _store(self, kind: str, record: ApiKeyRecord, **detail: str) -> None:
        told = {**detail, "scopes": " ".join(record.scopes)}
        await self._audit.tell(kind, record.tenant_id, f"key:{record.key_id}", **told)
        await self._context.bus.kv.create(KEYS, record_key(record.key_id), encode(record))

    async def _get(self, key_id: str) -> tuple[ApiKeyRecord, int]:
        stored = await self._context.bus.kv.get(KEYS, record_key(key_id))
        if stored is None:
            raise NotFound(f"there is no API key {key_id}: aionctl key ls shows all")
        return decode(stored.value, ApiKeyRecord), stored.revision

    async def _change(self, key_id: str, change: Change) -> ApiKeyRecord:
        """The record as it then stands; what another instance wrote meanwhile is not lost."""
        for _ in range(_TRIES):
            found, revision = await self._get(key_id)
            record = change(found)
            try:
                await self._context.bus.kv.update(KEYS, record_key(key_id), encode(record), after=revision)
            except Conflict:
                continue
            return record
        raise Conflict(f"API key {key_id} is being changed by others: try again")


def _ending(record: ApiKeyRecord, ends_ms: int) -> ApiKeyRecord:
    return changed(record, expires_at_ms=min(ends_ms, record.expires_at_ms or ends_ms))


def _issued(text: str, record: ApiKeyRecord) -> KeyIssued:
    return KeyIssued(
        key=text,
        key_id=record.key_id,
        tenant_id=record.tenant_id,
        scopes=record.scopes,
        created_at_ms=record.created_at_ms,
        expires_at_ms=record.expires_at_ms,
        note=record.note,
    )
