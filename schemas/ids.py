"""Identifiers, and the character set of everything that may enter a subject."""

import hashlib
import os
import re
from typing import Annotated, NewType

from msgspec import Meta
from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from schemas.errors import InvalidRequest

TaskId = NewType("TaskId", str)
TenantId = NewType("TenantId", str)
EventId = NewType("EventId", str)

TOKEN_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
"""One subject token: no dot, wildcard, space or control character can get in."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"
"""Intents and engines: lower case, a letter first."""

_TOKEN = re.compile(TOKEN_PATTERN)


def subject_token(value: str) -> str:
    """Return `value`, or raise `InvalidRequest` when it could change a subject's meaning."""
    if not _TOKEN.fullmatch(value):
        raise InvalidRequest(f"{value[:80]!r} is not an id: use 1 to 64 of A-Z a-z 0-9 _ -")
    return value


def _checked(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("use 1 to 64 of A-Z a-z 0-9 _ -")
    return value


# Python's `$` also matches before a last newline; pydantic's engine has no lookahead and needs none.
_WHOLE = "(?!\\n)"
OfToken = Meta(pattern=TOKEN_PATTERN + _WHOLE)
Token = Annotated[str, AfterValidator(_checked), WithJsonSchema({"type": "string", "pattern": TOKEN_PATTERN}), OfToken]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), Meta(pattern=NAME_PATTERN + _WHOLE)]
"""Both hold in messages (msgspec) and in what people write (pydantic)."""


def uuid7(unix_ms: int, random_bytes: bytes | None = None) -> str:
    """A time-ordered UUID as text (RFC 9562 section 5.7): 48 bits of milliseconds, the low 74 bits of ten bytes."""
    at, chance = f"{unix_ms & 0xFFFF_FFFF_FFFF:012x}", (random_bytes or os.urandom(10)).hex()
    variant = "89ab"[int(chance[1], 16) & 3]
    return f"{at[:8]}-{at[8:]}-7{chance[2:5]}-{variant}{chance[5:8]}-{chance[8:]}"


def keyed_task_id(tenant_id: TenantId, idempotency_key: str) -> TaskId:
    """The task id every submission of one (tenant, key) meets, whichever edge takes it.

    A UUIDv8 (RFC 9562 section 5.8) over SHA-256: tenants cannot steer into one another's ids, because the
    tenant is both hashed here and a token of the subject.
    """
    digest = hashlib.sha256(f"{tenant_id}\x00{idempotency_key}".encode()).digest()[:16]
    number = int.from_bytes(digest, "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0b11 << 62) | 0b10 << 62
    return TaskId(_uuid_text(number))


def _uuid_text(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
