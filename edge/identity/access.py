"""From an access token to its claims: form, key, signature, claims, in this order, and nothing is ever fetched."""

from typing import Final

from jwt import PyJWS
from jwt.exceptions import PyJWTError

from edge.identity.caller import Caller
from edge.identity.public_keys import ALGORITHM, PublicKey, PublicKeys
from schemas.errors import Unauthenticated
from schemas.identity import ACCESS_TYPE, AUDIENCE, LEEWAY_S, AccessClaims
from schemas.ids import TenantId
from schemas.jws import read_token
from schemas.message import Unreadable, decode

LEEWAY_MS: Final = LEEWAY_S * 1000

_jws: Final = PyJWS(algorithms=[ALGORITHM])


def prove_access(text: str, keys: PublicKeys, now_ms: int) -> tuple[AccessClaims, PublicKey]:
    """What a genuine token claims, good now or not (`check_claims`), and the key that signed it.

    Raises `Unauthenticated`. The header chooses among our own keys by name and nothing else: the algorithm is ours
    (RFC 8725 section 3.1).
    """
    token = read_token(text)
    if token.alg != ALGORITHM or token.typ != ACCESS_TYPE:
        raise Unauthenticated("that token is not one of AION's access tokens: get one at POST /v1/auth/token")
    key = keys.get(token.kid, now_ms)
    if key is None:
        raise Unauthenticated("that token was signed with a key that is not known here: get another one")
    try:
        _jws.decode(text, key.key, algorithms=[ALGORITHM])
        claims = decode(token.claims, AccessClaims)
    except (PyJWTError, Unreadable):
        raise Unauthenticated("that token is not genuine") from None
    return claims, key


def caller_of_answer(text: str, *, by_key: bool) -> Caller | None:
    """Who brought what the auth actor has just answered with this token: `by_key` the API key, else its user.

    The bus brought it and no client, so nothing is verified. None for claims that a newer auth actor makes.
    """
    try:
        claims = decode(read_token(text).claims, AccessClaims)
    except (Unauthenticated, Unreadable):
        return None
    name = f"key:{claims.key}" if by_key else claims.sub
    return Caller(TenantId(claims.tenant), name, frozenset(claims.scope.split()))


def check_claims(claims: AccessClaims, issuer: str, now_ms: int) -> None:
    """Return for a token that is ours, meant for us, and good now; else raise `Unauthenticated`."""
    if claims.iss != issuer or claims.aud != AUDIENCE:
        raise Unauthenticated("that token is of another issuer or meant for somebody else")
    if max(claims.nbf, claims.iat) * 1000 > now_ms + LEEWAY_MS:
        raise Unauthenticated("that token is not good yet: compare the clocks")
    if now_ms >= expiry_ms(claims):
        raise Unauthenticated("that token has expired: get another at POST /v1/auth/refresh")


def expiry_ms(claims: AccessClaims) -> int:
    """From when on a token is refused."""
    return claims.exp * 1000 + LEEWAY_MS
