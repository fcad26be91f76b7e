"""Refresh tokens as text: `aionr_<family>_<proof>_<turn>_<checksum>`, and what is kept of them.

The proof is the family's for life, the turn is good for one use. A token with the right proof and another turn was
genuine and has been used before, so the family has a thief in it; one with a wrong proof is nobody's.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Annotated, Final

from msgspec import Meta

from schemas.errors import Unauthenticated
from schemas.identity import Subject
from schemas.ids import Token, subject_token
from schemas.keys import base62, checksum
from schemas.message import Message
from schemas.scopes import Scope

FAMILY_BYTES: Final = 9
PROOF_BYTES: Final = 16
TURN_BYTES: Final = 32

_FORM: Final = re.compile(r"(aionr_([0-9A-Za-z]{13})_([0-9A-Za-z]{22})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})", re.ASCII)
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class FamilyRecord(Message):
    """All refresh tokens that came of one sign-in (`SESSIONS`, key `<family>`), of which one is good at a time."""

    family: Token
    tenant_id: Token
    subject: Subject
    scopes: tuple[Scope, ...]
    key: Token | None = None
    proof_sha256: Digest
    turn_sha256: Digest
    turn: int = 1
    created_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The parts of a refresh token."""

    family: str
    proof: str = field(repr=False)
    turn: str = field(repr=False)

    @property
    def text(self) -> str:
        """What a client is given."""
        body = f"aionr_{self.family}_{self.proof}_{self.turn}"
        return f"{body}_{checksum(body)}"


def new_family(family: bytes, proof: bytes, turn: bytes) -> RefreshToken:
    """The first token of a family, of `FAMILY_BYTES`, `PROOF_BYTES` and `TURN_BYTES` random bytes."""
    return RefreshToken(base62(family, 13), base62(proof, 22), base62(turn, 43))


def next_turn(token: RefreshToken, turn: bytes) -> RefreshToken:
    """The token that takes the place of `token`."""
    return RefreshToken(token.family, token.proof, base62(turn, 43))


def parse_refresh(text: str) -> RefreshToken:
    """The parts of a refresh token. Raises `Unauthenticated` for anything else, an access token for one."""
    found = _FORM.fullmatch(text)
    if found is None or checksum(found[1]) != found[5]:
        raise Unauthenticated("that is not a refresh token")
    return RefreshToken(found[2], found[3], found[4])


def sha256(secret: str) -> str:
    """What a record keeps of a proof and of a turn."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def is_of(token: RefreshToken, record: FamilyRecord) -> bool:
    """Whether the token was ever issued in that family."""
    return token.family == record.family and hmac.compare_digest(sha256(token.proof), record.proof_sha256)


def is_newest(token: RefreshToken, record: FamilyRecord) -> bool:
    """Whether the token, one of the family, was not used yet."""
    return hmac.compare_digest(sha256(token.turn), record.turn_sha256)


def revocation_key(family: str) -> str:
    """What stands in `KEYS` for as long as an access token of a revoked family could still be shown."""
    return f"revoked.{subject_token(family)}"
