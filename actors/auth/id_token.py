"""From an issuer's id token to a user (OpenID Connect Core 3.1.3.7): a pure decision over keys fetched before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jwt import PyJWK, PyJWS
from jwt.exceptions import PyJWTError
from msgspec import Struct

from actors.auth.settings import Issuer
from schemas.errors import Forbidden, InvalidRequest, Unauthenticated
from schemas.identity import LEEWAY_S, Seconds, Subject
from schemas.ids import TenantId, subject_token
from schemas.jws import Token, read_token
from schemas.message import Unreadable, decode

ALGORITHMS: Final = ("EdDSA", "ES256", "ES384", "RS256")
LONGEST_S: Final = 86_400
"""A token that claims to be good for longer is no id token."""

_jws: Final = PyJWS(algorithms=list(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class User:
    """Who signed in at an issuer, and which tenant he acts for."""

    tenant_id: TenantId
    subject: str


class IdClaims(Struct, frozen=True):
    """What is read of an id token; it may hold more."""

    iss: str
    sub: Subject
    aud: str | tuple[str, ...]
    exp: Seconds
    iat: Seconds
    nbf: Seconds = 0
    azp: str | None = None


def issuer_of(token: Token) -> str:
    """Which issuer a token names; nothing is believed of it but that it picks one of those configured."""
    return _claims(token).iss


def prove_id_token(text: str, issuer: Issuer, keys: Mapping[str, PyJWK]) -> IdClaims:
    """What a genuine token of this issuer claims, good now or not (`check_id_claims`). Raises `Unauthenticated`."""
    token = read_token(text)
    if token.typ is not None and token.typ.upper() != "JWT":
        raise Unauthenticated("that is not an id token: its typ says so")
    key = keys.get(token.kid)
    if key is None:
        raise Unauthenticated("that id token was signed with a key that its issuer does not publish")
    if token.alg != key.algorithm_name:
        raise Unauthenticated("that id token names an algorithm that is not its key's")
    try:
        _jws.decode(text, key, algorithms=[key.algorithm_name])
    except PyJWTError:
        raise Unauthenticated("that id token is not genuine") from None
    claims = _claims(token)
    if claims.iss != issuer.issuer:
        raise Unauthenticated("that id token is of another issuer")
    return claims


def user_of(text: str, claims: IdClaims, issuer: Issuer) -> User:
    """The user of a genuine token. Raises `Forbidden` for a tenant that the issuer may not speak for."""
    return User(_tenant(read_token(text), issuer), f"user:{issuer.name}/{claims.sub}")


def _claims(token: Token) -> IdClaims:
    try:
        return decode(token.claims, IdClaims)
    except Unreadable:
        raise Unauthenticated("that is not an id token: iss, sub, aud, exp or iat is missing or wrong") from None


def check_id_claims(claims: IdClaims, issuer: Issuer, now_s: int) -> None:
    """Return for claims that are meant for us and good now; else raise `Unauthenticated`."""
    meant_for = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
    several = len(meant_for) > 1
    if issuer.audience not in meant_for:
        raise Unauthenticated("that id token is meant for somebody else")
    if (several or claims.azp is not None) and claims.azp != issuer.audience:
        raise Unauthenticated("that id token was issued to somebody else")
    if now_s >= claims.exp + LEEWAY_S:
        raise Unauthenticated("that id token has expired: sign in again")
    if max(claims.nbf, claims.iat) > now_s + LEEWAY_S or claims.exp > now_s + LONGEST_S:
        raise Unauthenticated("that id token is not good now: compare the clocks")


def _tenant(token: Token, issuer: Issuer) -> TenantId:
    if issuer.tenant is not None:
        return TenantId(issuer.tenant)
    claims = decode(token.claims, dict[str, Any])
    named = claims.get(issuer.tenant_claim or "")
    try:
        tenant = subject_token(named) if isinstance(named, str) else ""
    except InvalidRequest:
        tenant = ""
    known = tenant in issuer.tenants or ("*" in issuer.tenants and not tenant.startswith("_"))
    if not tenant or not known:
        raise Forbidden(f"that issuer may not speak for the tenant in {issuer.tenant_claim}")
    return TenantId(tenant)
