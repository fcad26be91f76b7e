"""API keys as text: `aion_<key_id>_<secret>_<checksum>`, and what is kept of them.

The secret is 256 random bits, so its plain SHA-256 is as good as a slow hash: there is nothing to guess. The
checksum (CRC-32 of all before it) lets a typo be refused without a look-up, and lets scanners tell a real key from
a lookalike. Every part is base 62, so a double click selects the whole key.
"""

import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from schemas.errors import Unauthenticated
from schemas.ids import TenantId, subject_token
from schemas.registry import ApiKeyRecord

PREFIX: Final = "aion"
ID_BYTES: Final = 9
SECRET_BYTES: Final = 32
RANDOM_BYTES: Final = ID_BYTES + SECRET_BYTES
"""How many random bytes `mint` wants."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_CHARS: Final = 13
_SECRET_CHARS: Final = 43
_CHECKSUM_CHARS: Final = 6
_FORM: Final = re.compile(r"(aion_([0-9A-Za-z]{13})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A well-formed key whose checksum fits; nothing says yet that it was ever issued."""

    key_id: str
    secret: str = field(repr=False)


def mint(
    tenant_id: TenantId,
    now_ms: int,
    random_bytes: bytes,
    *,
    note: str = "",
    expires_at_ms: int | None = None,
) -> tuple[str, ApiKeyRecord]:
    """The key's text, to be shown once, and the record to store under `record_key(record.key_id)`.

    `random_bytes` are `RANDOM_BYTES` of `secrets.token_bytes`; `ValueError` when they are fewer.
    """
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"{len(random_bytes)} random bytes for a key: use {RANDOM_BYTES}")
    key_id = _base62(random_bytes[:ID_BYTES], _ID_CHARS)
    secret = _base62(random_bytes[ID_BYTES:], _SECRET_CHARS)
    body = f"{PREFIX}_{key_id}_{secret}"
    record = ApiKeyRecord(
        key_id=key_id,
        tenant_id=subject_token(tenant_id),
        secret_sha256=secret_sha256(secret),
        created_at_ms=now_ms,
        expires_at_ms=expires_at_ms,
        note=note,
    )
    return f"{body}_{_checksum(body)}", record


def parse(text: str) -> ParsedKey:
    """The parts of a key. Raises `Unauthenticated` for anything that is not a key with a fitting checksum."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(found[1]) != found[4]:
        raise Unauthenticated("that is not an AION API key: send Authorization: Bearer aion_..., copied whole")
    return ParsedKey(found[2], found[3])


def verify(parsed: ParsedKey, record: ApiKeyRecord | None, now_ms: int) -> None:
    """Return when `record` (None: no such key) is the living record of `parsed`, else raise `Unauthenticated`.

    The comparison takes the same time wherever the first difference is; an unknown key and a wrong secret get
    the same answer.
    """
    stored = record.secret_sha256 if record is not None and record.key_id == parsed.key_id else "0" * 64
    if not hmac.compare_digest(secret_sha256(parsed.secret), stored) or record is None:
        raise Unauthenticated(f"API key {parsed.key_id} is not known: create one with aionctl key create")
    if record.revoked:
        raise Unauthenticated(f"API key {parsed.key_id} was revoked: create another with aionctl key create")
    if record.expires_at_ms is not None and now_ms >= record.expires_at_ms:
        raise Unauthenticated(f"API key {parsed.key_id} has expired: create another with aionctl key create")


def secret_sha256(secret: str) -> str:
    """What a record keeps of the secret: lower-case hex."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def record_key(key_id: str) -> str:
    """Where the record lies in the bucket `KEYS`."""
    return f"apikey.{subject_token(key_id)}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"), _CHECKSUM_CHARS)


def _base62(data: bytes, width: int) -> str:
    number = int.from_bytes(data, "big")
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
