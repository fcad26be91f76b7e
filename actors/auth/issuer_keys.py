"""The keys of one OpenID provider, fetched by the clock: never because of anything that a token says."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from actors.auth.settings import AuthSettings, Issuer, is_safe_url
from schemas.errors import Unavailable
from schemas.message import Unreadable, decode

FETCH_S: Final = 5.0
MOST_BYTES: Final = 262_144
MOST_KEYS: Final = 32
RETRY_S: Final = 5.0
_LEAST_RSA_CHARS: Final = 342
"""A modulus of 2,048 bits in base64url (RFC 8725 section 3.5 wants no less)."""
_ALGORITHM: Final = {
    ("RSA", ""): "RS256",
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("OKP", "Ed25519"): "EdDSA",
}


class _Discovery(Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


class NotTrusted(Exception):
    """What an issuer answered cannot be used; the message says why."""


class IssuerKeys:
    """What is known serves while it is renewed, and for `issuer_stale_s` while the issuer does not answer."""

    def __init__(
        self,
        issuer: Issuer,
        session: ClientSession,
        settings: AuthSettings,
        now_s: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self.issuer = issuer
        self._session = session
        self._settings = settings
        self._now_s = now_s
        self._log = log.bind(issuer=issuer.name)
        self._keys: Mapping[str, PyJWK] = {}
        self._fetched_s: float | None = None

    def keys(self) -> Mapping[str, PyJWK]:
        """The keys by id. Raises `Unavailable` when they were never fetched, or too long ago."""
        if self._fetched_s is None or self._now_s() - self._fetched_s > self._settings.issuer_stale_s:
            raise Unavailable(f"the keys of issuer {self.issuer.name} are not known now: try again", retry_after_s=5.0)
        return self._keys

    async def watch(self) -> None:
        """Fetch again and again; sooner after a failure."""
        while True:
            again_s = self._settings.issuer_refresh_s if await self.fetch() else RETRY_S
            await asyncio.sleep(min(again_s, self._settings.issuer_refresh_s))

    async def fetch(self) -> bool:
        """Whether the keys are new now. A failure is logged and leaves what is known."""
        try:
            self._keys = await self._fetched()
        except (NotTrusted, Unreadable, ClientError, TimeoutError, OSError) as error:
            self._log.warning("auth.issuer_keys_not_fetched", error=type(error).__name__, why=str(error)[:200])
            return False
        self._fetched_s = self._now_s()
        return True

    async def _fetched(self) -> Mapping[str, PyJWK]:
        base = self.issuer.issuer.rstrip("/")
        found = decode(await self._get(f"{base}/.well-known/openid-configuration"), _Discovery)
        if found.issuer != self.issuer.issuer:
            raise NotTrusted("its discovery document names another issuer")
        if not is_safe_url(found.jwks_uri):
            raise NotTrusted("its jwks_uri is neither https nor on this machine")
        if found.jwks_uri.startswith("http:") and not self.issuer.issuer.startswith("http:"):
            raise NotTrusted("its jwks_uri is not https")
        keys = decode(await self._get(found.jwks_uri), _KeySet).keys
        if len(keys) > MOST_KEYS:
            raise NotTrusted(f"it publishes more than {MOST_KEYS} keys")
        return usable(keys)

    async def _get(self, url: str) -> bytes:
        """The body of a plain 200: redirects are not followed, nothing is unpacked, and there is a bound to all."""
        wanted = {"Accept": "application/json", "Accept-Encoding": "identity"}
        limits = ClientTimeout(total=FETCH_S)
        async with self._session.get(url, headers=wanted, timeout=limits, allow_redirects=False) as response:
            if response.status != 200:
                raise NotTrusted(f"it answered {response.status}")
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MOST_BYTES:
                    raise NotTrusted(f"it answered more than {MOST_BYTES} bytes")
            return bytes(body)


def usable(keys: tuple[dict[str, Any], ...]) -> dict[str, PyJWK]:
    """The keys that sign, by id, each bound to one algorithm; symmetric, weak, nameless and repeated ones are not."""
    found: dict[str, PyJWK] = {}
    repeated: set[str] = set()
    for jwk in keys:
        kid, algorithm = jwk.get("kid"), _ALGORITHM.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
        if not isinstance(kid, str) or algorithm is None or jwk.get("use", "sig") != "sig" or "d" in jwk:
            continue
        if jwk.get("alg", algorithm) != algorithm or (algorithm == "RS256" and _is_weak(jwk)):
            continue
        if kid in found:
            repeated.add(kid)
        try:
            found[kid] = PyJWK(jwk, algorithm=algorithm)
        except (PyJWTError, ValueError, TypeError):
            continue
    return {kid: key for kid, key in found.items() if kid not in repeated}


def _is_weak(jwk: dict[str, Any]) -> bool:
    modulus = jwk.get("n")
    return not isinstance(modulus, str) or len(modulus) < _LEAST_RSA_CHARS
