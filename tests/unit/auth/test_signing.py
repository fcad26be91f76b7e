"""There is a key to sign with, also when the issuer changed and when the folder cannot be written."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actors.auth.audit import Audit
from actors.auth.key_files import KeyFiles
from actors.auth.rotation import Rhythm, fresh
from actors.auth.signing import Signing
from actors.runtime import Context
from bus.memory import MemoryBus, MemoryServer
from bus.subjects import KEYS
from schemas.errors import Misconfigured
from schemas.identity import AUDIENCE, AccessClaims

RHYTHM = Rhythm(access_ms=60_000, rotate_every_ms=600_000, lead_ms=10_000)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@asynccontextmanager
async def signing_of(
    folder: Path, *, issuer: str = "aion", bus: MemoryBus | None = None, clock: Clock | None = None
) -> AsyncIterator[Signing]:
    bus = bus or MemoryBus(MemoryServer())
    context = Context(bus, "auth-1", structlog.get_logger(), clock or Clock())
    async with bus.kv.view(KEYS) as view:
        yield Signing(context, Audit(context), view, KeyFiles(folder, None), RHYTHM, issuer)


def claims(issuer: str = "aion") -> AccessClaims:
    return AccessClaims(
        iss=issuer, aud=AUDIENCE, sub="key:k", tenant="acme", scope="tasks:read", iat=1, nbf=1, exp=2, jti="j"
    )


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def issuers_in(folder: Path) -> dict[str, str]:
    return {key.record.kid: key.record.issuer for key in KeyFiles(folder, None).load()}


async def test_after_the_issuer_changed_a_key_of_the_new_one_signs_at_once(tmp_path: Path) -> None:
    folder, bus, clock = tmp_path / "auth", MemoryBus(MemoryServer()), Clock()
    async with signing_of(folder, issuer="old", bus=bus, clock=clock) as signing:
        await signing.tend()
        old = kid_of(signing.sign(claims("old")))
    clock.now_ms += 1000
    async with signing_of(folder, issuer="new", bus=bus, clock=clock) as signing:
        await signing.tend()
        new = kid_of(signing.sign(claims("new")))
        assert issuers_in(folder) == {old: "old", new: "new"}
        await signing.tend()
        assert len(issuers_in(folder)) == 2
    clock.now_ms += 1000
    async with signing_of(folder, issuer="old", bus=bus, clock=clock) as signing:
        await signing.tend()
        assert kid_of(signing.sign(claims("old"))) == old, "instances of two issuers leave each other's keys alone"


async def test_a_full_folder_is_tried_again_while_a_key_may_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, clock = tmp_path / "auth", Clock()
    async with signing_of(folder, clock=clock) as signing:
        await signing.tend()
        clock.now_ms += RHYTHM.rotate_every_ms
        with monkeypatch.context() as patched:
            patched.setattr("actors.auth.key_files.os.fsync", full)
            await signing.tend()
            old = kid_of(signing.sign(claims()))
            assert [path.name for path in folder.iterdir()] == [f"{old}.key"]
        await signing.tend()
        clock.now_ms += RHYTHM.lead_ms
        assert kid_of(signing.sign(claims())) != old


async def test_a_start_without_a_key_and_without_room_for_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("actors.auth.key_files.os.fsync", full)
    async with signing_of(tmp_path / "auth") as signing:
        with pytest.raises(Misconfigured, match=r"No space left.*AION_AUTH__FOLDER"):
            await signing.tend()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "auth", None)
    files.load()
    record = fresh("k", "aion", "x" * 43, 0, 0, RHYTHM)
    key = files.store(record, Ed25519PrivateKey.generate())
    (tmp_path / "auth" / "k.key").unlink()
    (tmp_path / "auth" / "k.key").mkdir()
    with pytest.raises(Misconfigured, match="AION_AUTH__FOLDER"):
        files.remove(key)
    with pytest.raises(Misconfigured, match="AION_AUTH__FOLDER"):
        files.replace(key, record)
    (tmp_path / "auth" / "k.key").rmdir()
    (tmp_path / "auth").rmdir()
    with pytest.raises(Misconfigured, match="AION_AUTH__FOLDER"):
        files.store(record, Ed25519PrivateKey.generate())


async def test_a_key_whose_file_stays_is_forgotten_at_a_later_look(tmp_path: Path) -> None:
    folder, clock, bus = tmp_path / "auth", Clock(), MemoryBus(MemoryServer())
    async with signing_of(folder, clock=clock, bus=bus) as signing:
        await signing.tend()
        old = kid_of(signing.sign(claims()))
        clock.now_ms += RHYTHM.rotate_every_ms
        await signing.tend()
        clock.now_ms += RHYTHM.lead_ms + RHYTHM.tail_ms
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Path, "unlink", _refuse)
            await signing.tend()
        assert await bus.kv.get(KEYS, f"jwk.{old}") is not None
        await signing.tend()
        assert await bus.kv.get(KEYS, f"jwk.{old}") is None
        assert old not in issuers_in(folder)


def _refuse(_path: Path, missing_ok: bool = False) -> None:
    raise OSError(errno.EROFS, "Read-only file system", str(missing_ok))
