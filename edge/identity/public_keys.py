"""The keys that access tokens are checked with, kept from the view of `KEYS`."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from schemas.message import Unreadable, decode, encode
from schemas.registry import SigningKeyRecord

PREFIX: Final = "jwk."
ALGORITHM: Final = "EdDSA"


class PublicKey(NamedTuple):
    """One key, ready for use, and the stored record it was made of."""

    record: SigningKeyRecord
    stored: bytes
    key: PyJWK


class PublicKeys:
    """Keys by id. A record that is unreadable makes no key."""

    def __init__(self) -> None:
        self._keys: dict[str, PublicKey] = {}
        self._document: bytes | None = None

    def load(self, view: Mapping[str, bytes]) -> None:
        """Take over a complete view."""
        for key, value in view.items():
            self.changed(key, value)

    def changed(self, key: str, value: bytes | None) -> None:
        """Something in `KEYS` was written or deleted."""
        if not key.startswith(PREFIX):
            return
        kid, self._document = key.removeprefix(PREFIX), None
        self._keys.pop(kid, None)
        found = _read(value) if value is not None else None
        if found is not None and found.record.kid == kid:
            self._keys[kid] = found

    def get(self, kid: str, now_ms: int) -> PublicKey | None:
        """The key that is called `kid`, while it is good for anything."""
        found = self._keys.get(kid)
        return found if found is not None and now_ms < found.record.verifies_until_ms else None

    def document(self) -> bytes:
        """All keys as a JWK Set (RFC 7517 section 5), newest first."""
        if self._document is None:
            records = sorted((found.record for found in self._keys.values()), key=lambda record: -record.created_at_ms)
            self._document = encode({"keys": [_jwk(record) for record in records]})
        return self._document


def _jwk(record: SigningKeyRecord) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": record.kid, "x": record.x}


def _read(stored: bytes) -> PublicKey | None:
    try:
        record = decode(stored, SigningKeyRecord)
        return PublicKey(record, stored, PyJWK(_jwk(record), algorithm=ALGORITHM))
    except (Unreadable, PyJWTError):
        return None
