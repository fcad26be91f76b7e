"""What an access token claims, and what the auth actor is asked.

Credentials travel in these messages, over the bus alone; none of them may be logged.
"""

from typing import Annotated, Final

from msgspec import Meta

from schemas import scopes
from schemas.ids import TenantId, Token
from schemas.message import Message
from schemas.scopes import Scope

SYSTEM: Final = TenantId("_aion")
"""Whose audit events those are that belong to no tenant. No key is issued for a tenant whose name starts with `_`."""

ACCESS_TYPE: Final = "at+jwt"
"""RFC 9068 section 2.1: no other token of anybody's passes as an access token."""
AUDIENCE: Final = "aion"
LEEWAY_S: Final = 30
"""How far the clocks of two machines may be apart."""

SUBJECT_PATTERN: Final = r"^[\x21-\x7e]{1,255}$"
Subject = Annotated[str, Meta(pattern=SUBJECT_PATTERN, max_length=255)]
Seconds = Annotated[int, Meta(ge=0, lt=1 << 40)]


class AccessClaims(Message):
    """The claims of an access token, all that there are. Times are Unix seconds."""

    iss: str
    aud: str
    sub: Annotated[Subject, Meta(description="`key:<key_id>` or `user:<issuer>/<subject>`.")]
    tenant: Token
    scope: str
    iat: Seconds
    nbf: Seconds
    exp: Seconds
    jti: Token
    family: Token | None = None
    key: Annotated[Token | None, Meta(description="The API key that vouched for it: it falls with that key.")] = None


class KeyCreate(Message):
    """Issue an API key."""

    tenant_id: Token
    scopes: tuple[Scope, ...] = scopes.DEFAULT
    expires_at_ms: int | None = None
    note: Annotated[str, Meta(max_length=200)] = ""


class KeyRotate(Message):
    """Issue a key like `key_id`, which goes on for `overlap_s` at most."""

    key_id: Token
    overlap_s: Annotated[int, Meta(ge=0, le=90 * 86_400)]


class KeyIssued(Message):
    """A key's text, which nobody can ask for again."""

    key: str
    key_id: Token
    tenant_id: Token
    scopes: tuple[Scope, ...]
    created_at_ms: int
    expires_at_ms: int | None
    note: str
    replaces: Token | None = None
    replaced_expires_at_ms: int | None = None


class KeyRevoke(Message):
    """End an API key."""

    key_id: Token


class KeyRevoked(Message):
    """The key is refused by every edge that hears the bus."""

    key_id: Token


class TokenIssue(Message):
    """Trade one credential, an API key or an issuer's id token, for an access token.

    With `subject` a key with the scope `tokens:issue` vouches for one of its tenant's users.
    """

    api_key: str | None = None
    id_token: str | None = None
    subject: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,120}$")] | None = None
    scopes: tuple[Scope, ...] | None = None


class TokenRefresh(Message):
    """Trade a refresh token for the next pair."""

    refresh_token: str


class Tokens(Message):
    """As RFC 6749 section 5.1 has it. Without `refresh_token` the credential itself is traded again."""

    access_token: str
    expires_in: int
    scope: str
    token_type: str = "Bearer"
    refresh_token: str | None = None


class TokenRevoke(Message):
    """End the family of a refresh token; or of a family's id, which an operator has from the audit trail."""

    refresh_token: str | None = None
    family: Token | None = None


class TokenRevoked(Message):
    """Nothing of the family is good any more. Unknown tokens get the same answer (RFC 7009 section 2.2)."""


class SigningRotate(Message):
    """Begin to sign with a new key."""


class SigningRotated(Message):
    """The key that will sign, and from when on."""

    kid: Token
    signs_from_ms: int
