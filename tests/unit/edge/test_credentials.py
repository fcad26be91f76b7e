"""For how long an edge believes what it verified once."""

import base64

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWS

from actors.runtime import Context
from actors.runtime.refusals import Refusals
from bus.memory import MemoryBus, MemoryServer
from edge.identity.access import caller_of_answer
from edge.identity.credentials import Credentials, bearer_of
from edge.identity.public_keys import PublicKeys
from schemas.errors import Unauthenticated
from schemas.identity import ACCESS_TYPE, AUDIENCE, AccessClaims
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import changed, encode
from schemas.registry import SigningKeyRecord

ISSUED_S = 1_000_000


class World:
    """An API key, a token that falls with it, and a clock that is set by hand."""

    def __init__(self, *, key_expires_ms: int | None, family: str | None = None) -> None:
        self.now_ms = ISSUED_S * 1000
        private = Ed25519PrivateKey.generate()
        x = base64.urlsafe_b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=")
        signing = SigningKeyRecord(
            kid="k", issuer="aion", x=x.decode(), created_at_ms=0, signs_from_ms=0, verifies_until_ms=1 << 50
        )
        self.key, self.record = mint(TenantId("acme"), 0, bytes(range(RANDOM_BYTES)), expires_at_ms=key_expires_ms)
        self.view = {"jwk.k": encode(signing), record_key(self.record.key_id): encode(self.record)}
        claims = AccessClaims(
            iss="aion", aud=AUDIENCE, sub="user:local/alice", tenant="acme", scope="tasks:read", iat=ISSUED_S,
            nbf=ISSUED_S, exp=ISSUED_S + 600, jti="j", family=family, key=self.record.key_id,
        )  # fmt: skip
        self.token = PyJWS().encode(encode(claims), private, "EdDSA", headers={"kid": "k", "typ": ACCESS_TYPE})
        keys = PublicKeys()
        keys.load(self.view)
        context = Context(MemoryBus(MemoryServer()), "edge-1", structlog.get_logger(), lambda: self.now_ms)
        self.refusals = Refusals(context, "edge")
        self.credentials = Credentials(self.view, keys, self.refusals, lambda: self.now_ms, max_cached=8)

    def believed(self, after_s: float) -> bool:
        self.now_ms = round((ISSUED_S + after_s) * 1000)
        try:
            self.credentials.caller_of(f"Bearer {self.token}")
        except Unauthenticated:
            return False
        return True


def test_a_token_that_was_seen_before_falls_with_its_api_key() -> None:
    world = World(key_expires_ms=(ISSUED_S + 60) * 1000, family="f")
    assert [world.believed(after_s) for after_s in (0, 59.999, 60)] == [True, True, False]


def test_a_token_falls_when_the_overlap_of_its_rotated_api_key_is_over() -> None:
    world = World(key_expires_ms=None)
    assert world.believed(0)
    world.view[record_key(world.record.key_id)] = encode(changed(world.record, expires_at_ms=(ISSUED_S + 60) * 1000))
    assert [world.believed(after_s) for after_s in (1, 59.999, 60)] == [True, True, False]


def test_a_token_of_a_key_that_outlives_it_ends_when_it_says() -> None:
    for key_expires_ms in (None, (ISSUED_S + 9000) * 1000):
        world = World(key_expires_ms=key_expires_ms)
        assert [world.believed(after_s) for after_s in (0, 599, 700)] == [True, True, False]


def test_bytes_that_no_credential_holds_make_none() -> None:
    assert bearer_of("Bearer aion_\udcff\xe4") == "aion_??"
    assert bearer_of("B\udcffarer aion_x") is None


def test_an_api_key_is_known_for_limits_and_nobody_is_told_of_what_is_none() -> None:
    world = World(key_expires_ms=(ISSUED_S + 60) * 1000)
    known = world.credentials.key_caller(f"Bearer {world.key}")
    assert known is not None
    assert (known.tenant_id, known.name) == ("acme", f"key:{world.record.key_id}")
    for other in (None, "", world.key, f"Bearer {world.token}", f"Bearer {world.key}x", "Bearer aion_\udcff"):
        assert world.credentials.key_caller(other) is None
    world.now_ms = (ISSUED_S + 60) * 1000
    assert world.credentials.key_caller(f"Bearer {world.key}") is None
    world.view[record_key(world.record.key_id)] = encode(changed(world.record, pepper_id="another"))
    assert world.credentials.key_caller(f"Bearer {world.key}") is None
    assert world.refusals.total == 0


def test_a_tokens_claims_say_who_brought_what_it_was_given_for() -> None:
    world = World(key_expires_ms=None)
    by_user, by_key = (caller_of_answer(world.token, by_key=by_key) for by_key in (False, True))
    assert by_user is not None
    assert by_key is not None
    assert (by_user.name, by_key.name) == ("user:local/alice", f"key:{world.record.key_id}")
    assert caller_of_answer("of.another.kind", by_key=False) is None
