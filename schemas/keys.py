"""API keys as text: `aion_<key_id>_<secret>_<checksum>`, and what is kept of them.

The secret is 256 random bits, so one round of a hash is as good as a slow one: there is nothing to guess. With a
pepper, which the bucket never holds, who can read or write `KEYS` can neither check nor make a key. The
checksum (CRC-32 of all before it) lets a typo be refused without a look-up, and lets scanners tell a real key from
a lookalike. Every part is base 62, so a double click selects the whole key.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas import scopes
from schemas.errors import Misconfigured, Unauthenticated, Unavailable
from schemas.ids import TenantId, subject_token
from schemas.registry import ApiKeyRecord
from schemas.scopes import Scope

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
_PEPPER_CHARS: Final = 32


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A well-formed key whose checksum fits; nothing says yet that it was ever issued."""

    key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pepper:
    """A secret of the installation that keys are hashed under; `pepper_id` says which, and gives nothing away."""

    pepper_id: str
    secret: bytes = field(repr=False)


def read_peppers(text: str) -> tuple[Pepper, ...]:
    """The peppers in `text`, parted by white space, the one for new keys first. Raises `Misconfigured`."""
    found = text.split()
    if any(len(secret) < _PEPPER_CHARS for secret in found):
        raise Misconfigured(f"a pepper is shorter than {_PEPPER_CHARS} characters: use openssl rand -hex 32")
    return tuple(Pepper(_pepper_id(secret), secret.encode()) for secret in found)


def mint(
    tenant_id: TenantId,
    now_ms: int,
    random_bytes: bytes,
    *,
    note: str = "",
    expires_at_ms: int | None = None,
    granted: Sequence[Scope] = scopes.DEFAULT,
    pepper: Pepper | None = None,
) -> tuple[str, ApiKeyRecord]:
    """The key's text, to be shown once, and the record to store under `record_key(record.key_id)`.

    `random_bytes` are `RANDOM_BYTES` of `secrets.token_bytes`; `ValueError` when they are fewer.
    """
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"{len(random_bytes)} random bytes for a key: use {RANDOM_BYTES}")
    key_id = base62(random_bytes[:ID_BYTES], _ID_CHARS)
    secret = base62(random_bytes[ID_BYTES:], _SECRET_CHARS)
    body = f"{PREFIX}_{key_id}_{secret}"
    record = ApiKeyRecord(
        key_id=key_id,
        tenant_id=subject_token(tenant_id),
        secret_sha256=digest(secret, pepper),
        pepper_id=pepper.pepper_id if pepper is not None else None,
        scopes=tuple(granted),
        created_at_ms=now_ms,
        expires_at_ms=expires_at_ms,
        note=note,
    )
    return f"{body}_{checksum(body)}", record


def parse(text: str) -> ParsedKey:
    """The parts of a key. Raises `Unauthenticated` for anything that is not a key with a fitting checksum."""
    found = _FORM.fullmatch(text)
    if found is None or checksum(found[1]) != found[4]:
        raise Unauthenticated("that is not an AION API key: send Authorization: Bearer aion_..., copied whole")
    return ParsedKey(found[2], found[3])


def verify(parsed: ParsedKey, record: ApiKeyRecord | None, now_ms: int, peppers: Sequence[Pepper] = ()) -> ApiKeyRecord:
    """`record`, when `parsed` is its key and it is in force. Raises what `prove` and `check_in_force` raise."""
    return check_in_force(prove(parsed, record, peppers), now_ms)


def prove(parsed: ParsedKey, record: ApiKeyRecord | None, peppers: Sequence[Pepper] = ()) -> ApiKeyRecord:
    """`record` (None: no such key), when `parsed` is its key, in force or not, else `Unauthenticated`.

    The comparison takes the same time wherever the first difference is; an unknown key and a wrong secret get
    the same answer. Raises `Unavailable` when the key was made under a pepper that is not among `peppers`.
    """
    known = record is not None and record.key_id == parsed.key_id
    pepper, stored = (_pepper_of(record, peppers), record.secret_sha256) if record is not None else (None, "0" * 64)
    if not hmac.compare_digest(digest(parsed.secret, pepper), stored) or record is None or not known:
        raise Unauthenticated(f"API key {parsed.key_id} is not known: create one with aionctl key create")
    return record


def check_in_force(record: ApiKeyRecord, now_ms: int) -> ApiKeyRecord:
    """`record`; raises `Unauthenticated` when it was revoked or is past its time."""
    if record.revoked:
        raise Unauthenticated(f"API key {record.key_id} was revoked: create another with aionctl key create")
    if not in_force(record, now_ms):
        raise Unauthenticated(f"API key {record.key_id} has expired: create another with aionctl key create")
    return record


def in_force(record: ApiKeyRecord, now_ms: int) -> bool:
    """Whether the key is neither revoked nor past its time."""
    return not record.revoked and (record.expires_at_ms is None or now_ms < record.expires_at_ms)


def digest(secret: str, pepper: Pepper | None) -> str:
    """What a record keeps of the secret: lower-case hex."""
    if pepper is None:
        return hashlib.sha256(secret.encode("ascii")).hexdigest()
    return hmac.digest(pepper.secret, secret.encode("ascii"), "sha256").hex()


def record_key(key_id: str) -> str:
    """Where the record lies in the bucket `KEYS`."""
    return f"apikey.{subject_token(key_id)}"


def checksum(body: str) -> str:
    """What a key or a refresh token ends with: CRC-32 of all before it."""
    return base62(zlib.crc32(body.encode("ascii")).to_bytes(4, "big"), _CHECKSUM_CHARS)


def base62(data: bytes, width: int) -> str:
    """`data` as digits and letters, `width` of them."""
    number = int.from_bytes(data, "big")
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _pepper_id(secret: str) -> str:
    return hashlib.sha256(f"aion.pepper:{secret}".encode()).hexdigest()[:12]


def _pepper_of(record: ApiKeyRecord, peppers: Sequence[Pepper]) -> Pepper | None:
    if record.pepper_id is None:
        return None
    for pepper in peppers:
        if pepper.pepper_id == record.pepper_id:
            return pepper
    raise Unavailable(f"API key {record.key_id} was made under a pepper that is not set here: set key_pepper")
