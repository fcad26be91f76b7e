"""From an `Authorization` header to a caller."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from edge.identity.caller import Caller
from schemas.errors import Unauthenticated
from schemas.ids import TenantId
from schemas.keys import ParsedKey, parse, record_key, verify
from schemas.message import Unreadable, decode
from schemas.registry import ApiKeyRecord


@dataclass(frozen=True, slots=True)
class _Verified:
    record_key: str
    record_bytes: bytes
    record: ApiKeyRecord
    caller: Caller


class Credentials:
    """Verifies API keys against the live view of `KEYS`.

    What was verified is remembered by digest, never by its text, and only for as long as the record it was
    verified against is the one in the view: a revocation works with the view's next update.
    """

    def __init__(self, keys: Mapping[str, bytes], now_ms: Callable[[], int], max_cached: int) -> None:
        self._keys = keys
        self._now_ms = now_ms
        self._max_cached = max_cached
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def caller_of(self, authorization: str | None) -> Caller:
        """Whom a header speaks for. Raises `Unauthenticated`, alike for unknown and for wrong keys."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("no API key: send Authorization: Bearer aion_...")
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        seen = self._verified.get(digest)
        if seen is not None and self._still_good(seen):
            return seen.caller
        self._verified.pop(digest, None)
        verified = self._verify(parse(token.strip()))
        self._verified[digest] = verified
        while len(self._verified) > self._max_cached:
            self._verified.popitem(last=False)
        return verified.caller

    def _still_good(self, seen: _Verified) -> bool:
        expires = seen.record.expires_at_ms
        in_time = expires is None or self._now_ms() < expires
        return in_time and self._keys.get(seen.record_key) == seen.record_bytes

    def _verify(self, parsed: ParsedKey) -> _Verified:
        key = record_key(parsed.key_id)
        stored = self._keys.get(key)
        record = _read(stored)
        verify(parsed, record, self._now_ms())
        if record is None or stored is None:
            raise Unauthenticated(f"API key {parsed.key_id} is not known: create one with aionctl key create")
        caller = Caller(TenantId(record.tenant_id), f"key:{record.key_id}")
        return _Verified(key, stored, record, caller)


def _read(stored: bytes | None) -> ApiKeyRecord | None:
    if stored is None:
        return None
    try:
        return decode(stored, ApiKeyRecord)
    except Unreadable:
        return None
