"""From an `Authorization` header to a caller."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from actors.runtime.refusals import Refusal, Refusals, stranger
from edge.identity.access import check_claims, expiry_ms, prove_access
from edge.identity.caller import Caller
from edge.identity.public_keys import PREFIX, PublicKeys
from schemas import scopes
from schemas.errors import InsufficientScope, Unauthenticated, Unavailable
from schemas.ids import TenantId
from schemas.jws import looks_signed
from schemas.keys import ParsedKey, Pepper, check_in_force, in_force, parse, prove, record_key, verify
from schemas.message import Unreadable, decode
from schemas.registry import ApiKeyRecord
from schemas.tokens import revocation_key

_Besides: TypeAlias = tuple[tuple[str, bytes | None], ...]
_Standing: TypeAlias = tuple[_Besides, int | None]
"""What must stay as it is, and until when it is good at most."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """A caller, and all that must still stand in `KEYS` for it to be believed again."""

    caller: Caller
    expires_ms: int | None
    anchor: str
    stored: bytes
    besides: _Besides = ()


class Credentials:
    """Verifies API keys and access tokens against the live view of `KEYS`.

    What was verified is remembered by digest, never by its text, and only for as long as what it was
    verified against is what stands in the view: a revocation works with the view's next update.
    """

    def __init__(
        self,
        view: Mapping[str, bytes],
        public_keys: PublicKeys,
        refusals: Refusals,
        now_ms: Callable[[], int],
        *,
        max_cached: int,
        peppers: Sequence[Pepper] = (),
    ) -> None:
        self._view = view
        self._public_keys = public_keys
        self._refusals = refusals
        self._now_ms = now_ms
        self._max_cached = max_cached
        self._peppers = peppers
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def caller_of(self, authorization: str | None) -> Caller:
        """Whom a header speaks for. Raises `Unauthenticated`, alike for unknown and for wrong keys."""
        sent = authorization or ""
        digest = sha256(sent.encode("utf-8", "surrogateescape")).digest()
        seen = self._verified.get(digest)
        if seen is not None and self._still_good(seen):
            return seen.caller
        self._verified.pop(digest, None)
        verified = self._verify(bearer_of(sent))
        self._verified[digest] = verified
        while len(self._verified) > self._max_cached:
            self._verified.popitem(last=False)
        return verified.caller

    def key_caller(self, authorization: str | None) -> Caller | None:
        """Whom an API key speaks for, None for any other credential and for a key that is not good here.

        Nobody is told of a refusal: the auth actor, which is asked next, tells of its own.
        """
        text = bearer_of(authorization or "")
        if text is None:
            return None
        try:
            parsed = parse(text)
            stored = self._view.get(record_key(parsed.key_id), b"")
            return _key_caller(verify(parsed, _read(stored), self._now_ms(), self._peppers))
        except (Unauthenticated, Unavailable):
            return None

    def lacking(self, caller: Caller, scope: str) -> InsufficientScope:
        """The refusal of a caller that lacks `scope`."""
        self._refusals.note(Refusal(caller.tenant_id, caller.name, f"lacks {scope}"))
        return InsufficientScope(f"this credential lacks the scope {scope}: use one that has it")

    def _still_good(self, seen: _Verified) -> bool:
        expires_ms, view = seen.expires_ms, self._view
        if expires_ms is not None and self._now_ms() >= expires_ms:
            return False
        if view.get(seen.anchor) != seen.stored:
            return False
        return not seen.besides or all(view.get(key) == stored for key, stored in seen.besides)

    def _verify(self, text: str | None) -> _Verified:
        if text is None:
            self._refusals.note(stranger("no credential"))
            raise Unauthenticated("no credential: send Authorization: Bearer aion_... or an access token")
        return self._verify_token(text) if looks_signed(text) else self._verify_key(text)

    def _verify_key(self, text: str) -> _Verified:
        try:
            parsed = parse(text)
        except Unauthenticated:
            self._refusals.note(stranger("no API key"))
            raise
        record, stored = self._good_key(parsed)
        return _Verified(_key_caller(record), record.expires_at_ms, record_key(record.key_id), stored)

    def _good_key(self, parsed: ParsedKey) -> tuple[ApiKeyRecord, bytes]:
        stored = self._view.get(record_key(parsed.key_id), b"")
        try:
            record = prove(parsed, _read(stored), self._peppers)
        except Unauthenticated:
            self._refusals.note(stranger("unknown API key"))
            raise
        try:
            return check_in_force(record, self._now_ms()), stored
        except Unauthenticated as error:
            self._refusals.note(Refusal(TenantId(record.tenant_id), f"key:{record.key_id}", error.message))
            raise

    def _verify_token(self, text: str) -> _Verified:
        try:
            claims, key = prove_access(text, self._public_keys, self._now_ms())
        except Unauthenticated as error:
            self._refusals.note(stranger(error.message))
            raise
        tenant_id = TenantId(claims.tenant)
        try:
            check_claims(claims, key.record.issuer, self._now_ms())
        except Unauthenticated as error:
            self._refusals.note(Refusal(tenant_id, claims.sub, error.message))
            raise
        standing = self._standing(claims.family, claims.key)
        if standing is None:
            self._refusals.note(Refusal(tenant_id, claims.sub, "that token was revoked"))
            raise Unauthenticated("that token was revoked: sign in again")
        caller = Caller(tenant_id, claims.sub, frozenset(claims.scope.split()))
        besides, key_expires_ms = standing
        expires_ms = expiry_ms(claims) if key_expires_ms is None else min(expiry_ms(claims), key_expires_ms)
        return _Verified(caller, expires_ms, f"{PREFIX}{key.record.kid}", key.stored, besides)

    def _standing(self, family: str | None, key_id: str | None) -> _Standing | None:
        """What must stay as it is for a token of this family and of this API key, None when it fell already."""
        besides: list[tuple[str, bytes | None]] = []
        expires_ms = None
        if family is not None:
            mark = revocation_key(family)
            if mark in self._view:
                return None
            besides.append((mark, None))
        if key_id is not None:
            stored = self._view.get(record_key(key_id), b"")
            record = _read(stored)
            if record is None or not in_force(record, self._now_ms()):
                return None
            besides.append((record_key(key_id), stored))
            expires_ms = record.expires_at_ms
        return tuple(besides), expires_ms


def bearer_of(authorization: str) -> str | None:
    """The credential in a header (RFC 6750 section 2.1), None when it has none; `?` for what is not ASCII in it."""
    scheme, _, text = authorization.encode("ascii", "replace").decode("ascii").partition(" ")
    return (text.strip() or None) if scheme.lower() == "bearer" else None


def _key_caller(record: ApiKeyRecord) -> Caller:
    return Caller(TenantId(record.tenant_id), f"key:{record.key_id}", scopes.reach(record.scopes))


def _read(stored: bytes) -> ApiKeyRecord | None:
    try:
        return decode(stored, ApiKeyRecord) if stored else None
    except Unreadable:
        return None
