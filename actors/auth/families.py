"""Refresh tokens: each is good once, one that comes twice ends all of its sign-in (RFC 9700 section 4.14)."""

from typing import Final, NoReturn

from actors.auth.audit import Audit
from actors.auth.settings import AuthSettings
from actors.runtime import Context
from actors.runtime.refusals import Bearer
from bus.subjects import KEYS, SESSIONS
from schemas.errors import Conflict, Unauthenticated
from schemas.identity import LEEWAY_S
from schemas.message import changed, decode, encode
from schemas.scopes import Scope
from schemas.tokens import (
    FAMILY_BYTES,
    PROOF_BYTES,
    TURN_BYTES,
    FamilyRecord,
    RefreshToken,
    is_newest,
    is_of,
    new_family,
    next_turn,
    revocation_key,
    sha256,
)

_MARK: Final = b"{}"


class Families:
    """The only one who reads and writes `SESSIONS`; the bucket holds hashes alone."""

    def __init__(self, context: Context, audit: Audit, settings: AuthSettings) -> None:
        self._context = context
        self._audit = audit
        self._refresh_ms = settings.refresh_ttl_s * 1000
        self._mark_ttl_s = settings.access_ttl_s + 2 * LEEWAY_S

    def found(self) -> RefreshToken:
        """The first token of a new family; nothing is stored yet."""
        chance = self._context.rng.randbytes
        return new_family(chance(FAMILY_BYTES), chance(PROOF_BYTES), chance(TURN_BYTES))

    async def open(self, record: FamilyRecord) -> None:
        """Store the family of a sign-in."""
        await self._context.bus.kv.put(SESSIONS, record.family, encode(record), ttl_s=self._left_s(record))

    def record(
        self, token: RefreshToken, *, tenant_id: str, subject: str, scopes: tuple[Scope, ...], key: str | None
    ) -> FamilyRecord:
        """What is kept of a family whose first token is `token`."""
        now_ms = self._context.now_ms()
        return FamilyRecord(
            family=token.family,
            tenant_id=tenant_id,
            subject=subject,
            scopes=scopes,
            key=key,
            proof_sha256=sha256(token.proof),
            turn_sha256=sha256(token.turn),
            created_at_ms=now_ms,
            expires_at_ms=now_ms + self._refresh_ms,
        )

    async def look(self, token: RefreshToken, bearer: Bearer) -> tuple[FamilyRecord, int]:
        """The family of a token that was not used yet, and the revision for `turn`.

        Raises `Unauthenticated` for a token of no living family, and for one that was used: then the family ends.
        Of a genuine one, good or not, `bearer` learns whose it is.
        """
        record, revision = await self._find(token)
        bearer.is_proven(record.tenant_id, record.subject)
        if self._context.now_ms() >= record.expires_at_ms:
            raise _unknown()
        if not is_newest(token, record):
            await self._end_of_thief(record)
        return record, revision

    async def turn(self, token: RefreshToken, record: FamilyRecord, revision: int) -> RefreshToken:
        """Use a token up: the one that follows it. Of two that use it at once one wins, and the family ends."""
        following = next_turn(token, self._context.rng.randbytes(TURN_BYTES))
        after = changed(record, turn_sha256=sha256(following.turn), turn=record.turn + 1)
        kv = self._context.bus.kv
        try:
            await kv.update(SESSIONS, record.family, encode(after), after=revision, ttl_s=self._left_s(record))
        except Conflict:
            await self._end_of_thief(record)
        return following

    async def end(self, token: RefreshToken) -> None:
        """Revoke the family of a genuine token, used or not; anything else changes nothing."""
        try:
            record, _ = await self._find(token)
        except Unauthenticated:
            return
        await self.end_family(record.family, "asked by its bearer")

    async def end_family(self, family: str, why: str) -> None:
        """Revoke a family by its id. First every edge refuses its access tokens, then no other can be had."""
        stored = await self._context.bus.kv.get(SESSIONS, family)
        if stored is None:
            return
        record = decode(stored.value, FamilyRecord)
        await self._context.bus.kv.put(KEYS, revocation_key(family), _MARK, ttl_s=self._mark_ttl_s)
        await self._context.bus.kv.delete(SESSIONS, family)
        await self._audit.tell("tokens_revoked", record.tenant_id, record.subject, family=family, why=why)

    async def _end_of_thief(self, record: FamilyRecord) -> NoReturn:
        await self.end_family(record.family, "a refresh token was used twice")
        raise Unauthenticated("that refresh token was used before, so all of its sign-in ended: sign in again")

    async def _find(self, token: RefreshToken) -> tuple[FamilyRecord, int]:
        stored = await self._context.bus.kv.get(SESSIONS, token.family)
        record = decode(stored.value, FamilyRecord) if stored is not None else None
        if stored is None or record is None or not is_of(token, record):
            raise _unknown()
        return record, stored.revision

    def _left_s(self, record: FamilyRecord) -> float:
        return float(max(1, (record.expires_at_ms - self._context.now_ms()) // 1000))


def _unknown() -> Unauthenticated:
    return Unauthenticated("that refresh token is not known, expired or was revoked: sign in again")
