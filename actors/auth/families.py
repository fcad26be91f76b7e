"""Refresh tokens: each is good once, one that comes twice ends all of its sign-in (RFC 9700 section 4.14)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from actors.auth.audit import Audit
from actors.auth.settings import AuthSettings
from actors.auth.tally import Tally, User
from actors.runtime import Context
from actors.runtime.refusals import Bearer
from bus.subjects import KEYS, SESSIONS
from schemas.errors import AionError, Conflict, TooManyRequests, Unauthenticated
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
_TOO_MANY: Final = "its user signed in elsewhere, and it was not used for longest"
_FULL_S: Final = 60.0
"""When a tenant that has no place left may come back: one becomes free whenever a sign-in ends."""
_ENDED_AT_ONCE: Final = 8
"""More than one only where a bound was lowered; so many for each new sign-in, until it holds."""


class Families:
    """The only one who reads and writes `SESSIONS`; the bucket holds hashes alone."""

    def __init__(self, context: Context, audit: Audit, settings: AuthSettings, tally: Tally) -> None:
        self._context = context
        self._audit = audit
        self._settings = settings
        self._tally = tally
        self._opening: set[str] = set()
        self._ending: set[str] = set()
        self.turned_away = 0
        """Sign-ins that were refused because their tenant had no place left."""
        self._refresh_ms = settings.refresh_ttl_s * 1000
        self._mark_ttl_s = settings.access_ttl_s + 2 * LEEWAY_S

    def found(self) -> RefreshToken:
        """The first token of a new family; nothing is stored yet."""
        chance = self._context.rng.randbytes
        return new_family(chance(FAMILY_BYTES), chance(PROOF_BYTES), chance(TURN_BYTES))

    @contextmanager
    def place(self, record: FamilyRecord) -> Iterator[None]:
        """A place for a family that the block opens. Raises `TooManyRequests` when its tenant has none left.

        Who is signed in already is not refused, he gives up one of his own: so whoever makes up users shuts out
        others who are new, and nobody else.
        """
        bound, tally = self._settings.max_sessions_per_tenant, self._tally
        full = tally.complete and tally.of_tenant(record.tenant_id) >= bound
        if full and not tally.of_user(User(record.tenant_id, record.subject)):
            self.turned_away += 1
            raise TooManyRequests(
                f"the tenant {record.tenant_id} has {bound} sign-ins, as many as it may: end some at POST "
                "/v1/auth/revoke, or raise AION_AUTH__MAX_SESSIONS_PER_TENANT",
                retry_after_s=_FULL_S,
            )
        tally.expect(record)
        self._opening.add(record.family)
        try:
            yield
        except BaseException:
            tally.unexpect(record.family)
            raise
        finally:
            self._opening.discard(record.family)

    async def open(self, record: FamilyRecord) -> None:
        """Store the family of a sign-in, and end what its user then has too many of.

        His new sign-in stands, also where the end of an old one fails: the next sign-in tries again.
        """
        await self._context.bus.kv.put(SESSIONS, record.family, encode(record), ttl_s=self._left_s(record))
        self._opening.discard(record.family)
        ending = self._too_many(record)
        self._ending.update(ending)
        try:
            for family in ending:
                await self._forget(family)
                await self._audit.tell("tokens_revoked", record.tenant_id, record.subject, family=family, why=_TOO_MANY)
        except AionError as error:
            self._context.log.warning("auth.sign_in_not_ended", code=error.code, why=error.message)
        finally:
            self._ending.difference_update(ending)

    async def sweep(self, is_over: Callable[[str], bool]) -> None:
        """Forget the families of API keys that are over: they are of no use any more, and hold places."""
        over = {key for key in self._tally.keys if is_over(key)}
        for family in self._tally.of_keys(over) if over else ():
            await self._forget(family)

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
        await self._forget(family)
        await self._audit.tell("tokens_revoked", record.tenant_id, record.subject, family=family, why=why)

    async def _forget(self, family: str) -> None:
        await self._context.bus.kv.delete(SESSIONS, family)
        self._tally.changed(family, None)

    def _too_many(self, record: FamilyRecord) -> list[str]:
        """What the user of a new family has to give up for it, longest unused first."""
        bounds, families = self._settings, self._tally.of_user(User(record.tenant_id, record.subject))
        many = len(families) - bounds.max_sessions_per_subject
        if self._tally.of_tenant(record.tenant_id) > bounds.max_sessions_per_tenant:
            many = max(many, 1)
        stored = [family for family in families if family != record.family and family not in self._opening]
        return [family for family in stored[: max(0, many)] if family not in self._ending][:_ENDED_AT_ONCE]

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
