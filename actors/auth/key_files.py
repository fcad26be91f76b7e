"""Private keys on disk: a file each, for us alone, whole or not there."""

import os
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from schemas.errors import Misconfigured
from schemas.message import Message, Unreadable, changed, decode, encode
from schemas.registry import SigningKeyRecord

_SUFFIX = ".key"


class SigningKey(Message):
    """A key pair: its public record, and the private half as PEM (PKCS #8), encrypted if there is a passphrase."""

    record: SigningKeyRecord
    pem: str

    def __repr__(self) -> str:
        """The name alone: what is logged by mistake may not be the key."""
        return f"SigningKey({self.record.kid})"


class KeyFiles:
    """The folder of private keys. Everything here blocks for a moment: call it in a thread.

    Raises `Misconfigured` for a folder that cannot be used: missing, full or read-only.
    """

    def __init__(self, folder: Path, passphrase: str | None) -> None:
        self._folder = folder
        self._passphrase = passphrase.encode() if passphrase else None

    def load(self) -> list[SigningKey]:
        """Every key in the folder, which is made if it is missing.

        Raises `Misconfigured` for a folder or file that others may read, and for what is no key.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            paths = sorted(self._folder.glob(f"*{_SUFFIX}"))
            for path in (self._folder, *paths):
                if path.stat().st_mode & 0o077:
                    raise Misconfigured(f"{path} may be read by others: chmod go= {path}")
            return [self._read(path) for path in paths]
        except OSError as error:
            raise self._unusable(error) from error

    def private(self, key: SigningKey) -> Ed25519PrivateKey:
        """The private half. Raises `Misconfigured` for another passphrase."""
        try:
            found = load_pem_private_key(key.pem.encode(), self._passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Misconfigured(f"signing key {key.record.kid} cannot be opened: set AION_AUTH__PASSPHRASE") from error
        if not isinstance(found, Ed25519PrivateKey):
            raise Misconfigured(f"signing key {key.record.kid} is not an Ed25519 key: delete its file")
        return found

    def store(self, record: SigningKeyRecord, private: Ed25519PrivateKey) -> SigningKey:
        """Write a new key, synced, before anybody may hear of it."""
        hidden: KeySerializationEncryption = NoEncryption()
        if self._passphrase is not None:
            hidden = BestAvailableEncryption(self._passphrase)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden).decode("ascii")
        key = SigningKey(record=record, pem=pem)
        self._write(key)
        return key

    def replace(self, key: SigningKey, record: SigningKeyRecord) -> SigningKey:
        """The same key under another record."""
        key = changed(key, record=record)
        self._write(key)
        return key

    def remove(self, key: SigningKey) -> None:
        """Forget a key whose last token has expired."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _path(self, key: SigningKey) -> Path:
        return self._folder / f"{key.record.kid}{_SUFFIX}"

    def _read(self, path: Path) -> SigningKey:
        try:
            return decode(path.read_bytes(), SigningKey)
        except Unreadable as error:
            raise Misconfigured(f"{path} is no signing key ({error}): move it away") from error

    def _write(self, key: SigningKey) -> None:
        path = self._path(key)
        fresh = path.with_suffix(".new")
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(encode(key))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> Misconfigured:
        return Misconfigured(f"{self._folder} cannot be used ({error.strerror}): set AION_AUTH__FOLDER")
