"""The keys that sign access tokens: made, published, rotated, and forgotten."""

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWS

from actors.auth.audit import Audit
from actors.auth.key_files import KeyFiles, SigningKey
from actors.auth.rotation import Rhythm, fresh, is_due, over, retired, signer
from actors.runtime import Context
from bus.port import Call
from bus.subjects import KEYS
from schemas.errors import Misconfigured, Unavailable
from schemas.identity import ACCESS_TYPE, SYSTEM, AccessClaims, SigningRotate, SigningRotated
from schemas.message import Unreadable, decode, encode
from schemas.registry import SigningKeyRecord

ALGORITHM: Final = "EdDSA"
_PREFIX: Final = "jwk."
_KID_BYTES: Final = 9

_jws: Final = PyJWS(algorithms=[ALGORITHM])


class Signing:
    """Private keys stay here and in their files; `KEYS` has the public halves.

    Instances that share a folder share its keys; others have keys of their own, and edges believe all of them.
    """

    def __init__(
        self, context: Context, audit: Audit, view: Mapping[str, bytes], files: KeyFiles, rhythm: Rhythm, issuer: str
    ) -> None:
        self._context = context
        self._audit = audit
        self._view = view
        self._files = files
        self._rhythm = rhythm
        self._issuer = issuer
        self._keys: dict[str, tuple[SigningKey, Ed25519PrivateKey]] = {}
        self._changing = asyncio.Lock()

    @property
    def kids(self) -> list[str]:
        """The keys at hand, oldest first."""
        return [record.kid for record in sorted(self._records(), key=lambda record: record.created_at_ms)]

    def sign(self, claims: AccessClaims) -> str:
        """The token. Raises `Unavailable` while no key may sign."""
        record = self._signer()
        if record is None:
            raise Unavailable("no key may sign now: try again", retry_after_s=1.0)
        _, private = self._keys[record.kid]
        return _jws.encode(
            encode(claims), private, algorithm=ALGORITHM, headers={"kid": record.kid, "typ": ACCESS_TYPE}
        )

    async def tend(self) -> None:
        """Read the folder, publish what is not, rotate what is due, forget what is over. Raises `Misconfigured`.

        A folder that cannot be written is logged while a key may sign: the next call tries again.
        """
        async with self._changing:
            await self._load()
            try:
                await self._renew(self._context.now_ms())
            except Misconfigured as error:
                if self._signer() is None:
                    raise
                self._context.log.warning("auth.signing_keys_not_renewed", code=error.code, why=error.message)

    async def rotate(self, _asked: SigningRotate, _call: Call) -> SigningRotated:
        """A new key, which signs after the lead. What is signed until then, and what was signed, stays good."""
        async with self._changing:
            record = await self._add(signs_from_ms=self._context.now_ms() + self._rhythm.lead_ms)
        return SigningRotated(kid=record.kid, signs_from_ms=record.signs_from_ms)

    async def _renew(self, now_ms: int) -> None:
        for record in self._published():
            if over(record, now_ms):
                await self._forget(record)
        if self._signer() is None:
            await self._add(signs_from_ms=now_ms)
        elif is_due(self._own(), now_ms, self._rhythm):
            await self._add(signs_from_ms=now_ms + self._rhythm.lead_ms)

    def _signer(self) -> SigningKeyRecord | None:
        return signer(self._own(), self._context.now_ms(), self._rhythm)

    def _own(self) -> list[SigningKeyRecord]:
        """Those of the issuer that is set: edges refuse what another's keys sign, and those run out by themselves."""
        return [record for record in self._records() if record.issuer == self._issuer]

    def _records(self) -> list[SigningKeyRecord]:
        return [key.record for key, _ in self._keys.values()]

    def _published(self) -> list[SigningKeyRecord]:
        """Every key in `KEYS`, those of instances that are gone included; what is unreadable there is left alone."""
        found = []
        for key, value in self._view.items():
            if key.startswith(_PREFIX):
                with suppress(Unreadable):
                    found.append(decode(value, SigningKeyRecord))
        return found

    async def _load(self) -> None:
        found = {key.record.kid: key for key in await asyncio.to_thread(self._files.load)}
        self._keys = {kid: known for kid, known in self._keys.items() if kid in found}
        for kid, key in found.items():
            private = self._keys[kid][1] if kid in self._keys else await asyncio.to_thread(self._files.private, key)
            self._keys[kid] = (key, private)
            await self._publish(key.record)

    async def _add(self, signs_from_ms: int) -> SigningKeyRecord:
        now_ms, private = self._context.now_ms(), Ed25519PrivateKey.generate()
        x = base64.urlsafe_b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=")
        kid = self._context.rng.randbytes(_KID_BYTES).hex()
        record = fresh(kid, self._issuer, x.decode("ascii"), now_ms, signs_from_ms, self._rhythm)
        await self._audit.tell("signing_key_rotated", SYSTEM, f"signing:{kid}", signs_from_ms=str(signs_from_ms))
        before = self._own()
        key = await asyncio.to_thread(self._files.store, record, private)
        await self._publish(record)
        self._keys[kid] = (key, private)
        for ending in retired(before, signs_from_ms, self._rhythm):
            old, its = self._keys[ending.kid]
            self._keys[ending.kid] = (await asyncio.to_thread(self._files.replace, old, ending), its)
            await self._publish(ending)
        self._context.log.info("auth.signing_key_added", kid=kid, signs_from_ms=signs_from_ms)
        return record

    async def _publish(self, record: SigningKeyRecord) -> None:
        key, value = f"{_PREFIX}{record.kid}", encode(record)
        if self._view.get(key) != value:
            await self._context.bus.kv.put(KEYS, key, value)

    async def _forget(self, record: SigningKeyRecord) -> None:
        own = self._keys.get(record.kid)
        if own is not None:  # the file first: the next look would publish again what it finds there
            await asyncio.to_thread(self._files.remove, own[0])
            del self._keys[record.kid]
        await self._context.bus.kv.delete(KEYS, f"{_PREFIX}{record.kid}")
        self._context.log.info("auth.signing_key_forgotten", kid=record.kid)
