"""Who may do how much on a WebSocket, and for how long: rates, TLS, client certificates, tokens that expire."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgery import compact
from twin_edge import DIGEST, TwinEdge, twin_edge
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from ws_talk import Talk, talking

from bus import subjects
from schemas.identity import ACCESS_TYPE, AUDIENCE, LEEWAY_S
from schemas.message import encode
from schemas.registry import ModuleRecord, SigningKeyRecord

GREETER = ModuleRecord(name="greeter", version="1.0.0", digest=DIGEST, intents=("greet",))
TASK = {"intent": "greet"}


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[TwinEdge]:
    async with twin_edge(**settings) as twin:
        await twin.admit(GREETER)
        yield twin


FRAMES: dict[str, tuple[dict[str, Any], str, str]] = {
    "submit": ({"task": TASK}, "POST /v1/tasks", "accepted"),
    "subscribe": ({"task_id": "t"}, "GET /v1/stream/{task_id}", "subscribed"),
    "cancel": ({"task_id": "t"}, "POST /v1/tasks/{task_id}/cancel", "already_ended"),
}


@pytest.mark.parametrize("kind", FRAMES)
async def test_a_frame_counts_as_the_request_that_does_the_same_and_is_told_when_to_come_back(kind: str) -> None:
    """The request empties the bucket, the frame finds it so; what it is told is neither too early nor too late."""
    fields, route, answer = FRAMES[kind]
    method, path = route.format(task_id="t").split(" ")
    rates = {"routes": {route: {"rpm": 60, "burst": 1}}}
    async with world(rates=rates, accept_timeout_s=0.2) as twin, aiohttp.ClientSession(twin.url) as http:
        headers = {"Authorization": f"Bearer {twin.key}", "Prefer": "respond-async"}
        if kind != "submit":  # a submission here would be a request too many where submissions are counted
            async with http.post("/v1/tasks", headers=headers, json=TASK | {"task_id": "t"}) as response:
                assert response.status == 202
        async with talking(twin) as talk:
            async with http.request(method, path, headers=headers, json=TASK if kind == "submit" else None) as response:
                assert response.ok
            await talk.send(kind, id="1", **fields)
            refused = await talk.next()
            assert (refused["type"], refused["id"], refused["problem"]["status"]) == ("error", "1", 429)
            wait_s = refused["problem"]["retry_after_s"]
            assert wait_s == 1
            await asyncio.sleep(wait_s / 2)
            await talk.send(kind, id="2", **fields)
            assert (await talk.next())["problem"]["code"] == "too_many_requests"
            assert await talk.silent()
            await asyncio.sleep(wait_s / 2)
            await talk.send(kind, id="3", **fields)
            found = await talk.next()
            assert found.get("problem", {}).get("code", found["type"]) == answer
            async with http.request(method, path, headers=headers, json=TASK if kind == "submit" else None) as response:
                assert response.status == 429, "the frame took from the bucket of the request"


async def test_an_upgrade_and_its_hello_are_one_request_of_their_address() -> None:
    rates = {"ip": {"rpm": 60, "burst": 2}}
    async with world(rates=rates) as twin:
        for _ in range(2):
            async with talking(twin, key=None) as talk:
                await talk.send("hello", authorization=f"Bearer {twin.key}")
                assert (await talk.next())["type"] == "welcome"
        with pytest.raises(InvalidStatus, match="429"):
            async with talking(twin, key=None):
                raise AssertionError("it was opened")


async def test_strangers_hold_few_sockets_and_say_little_until_they_are_known() -> None:
    async with world(ws={"max_strangers": 4}) as twin, talking(twin, key=None) as talk:  # one for an address
        with pytest.raises(InvalidStatus, match="429"):
            async with talking(twin, key=None):
                raise AssertionError("it was opened")
        async with talking(twin) as known:
            await accepted(known, "t")
        await talk.send("hello", authorization=f"Bearer {twin.key}")
        assert (await talk.next())["type"] == "welcome"
        text = "x" * 200_000
        await talk.send("submit", id="1", task=TASK | {"params": {"text": text}})
        assert (await talk.next())["type"] == "accepted"
        async with talking(twin, key=None) as second:  # the place of who is known by now
            await second.socket.send(json.dumps({"type": "hello", "authorization": "x" * 20_000}))
            assert (await second.code())[0] == 1009
        async with talking(twin, key=None) as third:
            pieces = [b'{"type": "hello", "authorization": "', *[b"x" * 1000] * 20, b'"}']
            with suppress(ConnectionClosed):
                await third.socket.send([piece.decode() for piece in pieces])
            assert (await third.code())[0] == 1009


class Tokens:
    """Access tokens of the tenant `acme`, as the auth actor makes them."""

    def __init__(self, twin: TwinEdge) -> None:
        self._twin = twin
        self._private = Ed25519PrivateKey.generate()

    async def publish(self) -> None:
        """Edges know the key."""
        x = base64.urlsafe_b64encode(self._private.public_key().public_bytes_raw()).rstrip(b"=").decode()
        now_ms = self._twin.server.now_ms()
        record = SigningKeyRecord(
            kid="k1", issuer="tests", x=x, created_at_ms=now_ms, signs_from_ms=now_ms, verifies_until_ms=now_ms * 2
        )
        await self._twin.bus.kv.put(subjects.KEYS, "jwk.k1", encode(record))
        await asyncio.sleep(0.02)

    def good_for(self, seconds: int) -> str:
        """What an edge believes for so long, and up to a second more."""
        now_s = self._twin.server.now_ms() // 1000
        claims = {
            "iss": "tests", "aud": AUDIENCE, "sub": "user:tests/alice", "tenant": "acme", "jti": "j1",
            "scope": "tasks:submit tasks:read", "iat": now_s - 60, "nbf": now_s - 60,
            "exp": now_s + 1 + seconds - LEEWAY_S,
        }  # fmt: skip
        return compact({"alg": "EdDSA", "kid": "k1", "typ": ACCESS_TYPE}, claims, self._private)


async def test_a_token_that_expires_ends_its_sockets_with_their_marks_and_one_that_was_renewed_goes_on() -> None:
    async with world() as twin:
        tokens = Tokens(twin)
        await tokens.publish()
        first = tokens.good_for(1)
        async with talking(twin, key=first) as stays, talking(twin, key=first) as ends:
            await ends.send("submit", id="1", task=TASK | {"task_id": "t"})
            assert (await ends.next())["type"] == "accepted"
            async with (
                talking(twin, "/v1/stream/t", key=first) as one,
                talking(twin, "/v1/stream/t", key=first) as kept,
            ):
                marks = [(await stream.next())["event_id"] for stream in (one, kept)]
                await ends.send("subscribe", id="s", task_id="t")
                marks.append((await ends.some(2))[1]["event_id"])
                for talk in (stays, kept):
                    await talk.send("hello", authorization=f"Bearer {tokens.good_for(60)}")
                assert (await stays.next())["type"] == "welcome"
                assert len(set(marks)) == 1
                for talk, frame_id in ((ends, {"id": "s"}), (one, {})):
                    code, said = await talk.code()
                    assert code == 4401
                    assert said[0] == {"type": "end", "reason": "closing", "after": marks[0]} | frame_id
                    assert (said[1]["problem"]["code"], "expired" in said[1]["problem"]["detail"]) == (
                        "unauthenticated", True,
                    )  # fmt: skip
                await stays.send("submit", id="2", task=TASK)
                assert (await stays.next())["type"] == "accepted"
                assert await kept.silent()
        with pytest.raises(InvalidStatus, match="401"):
            async with talking(twin, key=first):
                raise AssertionError("it was opened")


WORKER, GUEST = "worker.acme.example", "guest.example"


class Authorities:
    """Who signs the edge's certificate, and who those of its clients."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.clients = trustme.CA(), trustme.CA()
        leaf = self.ours.issue_cert("localhost")
        self._files = {name: folder / f"{name}.pem" for name in ("cert", "key", "client_ca")}
        leaf.cert_chain_pems[0].write_to_path(self._files["cert"])
        leaf.private_key_pem.write_to_path(self._files["key"])
        self.clients.cert_pem.write_to_path(self._files["client_ca"])

    def settings(self, *, clients: bool) -> dict[str, Any]:
        if clients:
            return self._files | {"client_tenants": {WORKER: "acme"}}
        return {name: path for name, path in self._files.items() if name != "client_ca"}

    def of(self, name: str | None = None) -> ssl.SSLContext:
        """What a client believes, and its certificate."""
        context = ssl.create_default_context()
        self.ours.configure_trust(context)
        if name is not None:
            self.clients.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities(tmp_path)


async def accepted(talk: Talk, task_id: str) -> None:
    await talk.send("submit", id=task_id, task=TASK | {"task_id": task_id})
    assert (await talk.next())["type"] == "accepted"


def test_a_socket_over_tls_is_one_like_the_others_on_the_loop_of_production(authorities: Authorities) -> None:
    """uvloop has a TLS of its own around OpenSSL, and writes wait for it."""

    async def talk_over_tls() -> None:
        plain = {"tls": authorities.settings(clients=False)}
        async with world(**plain) as twin:
            trust = authorities.of()
            async with talking(twin, ssl=trust) as talk:
                await accepted(talk, "t")
                text = "x" * 200_000
                await talk.send("submit", id="2", task=TASK | {"task_id": "u", "params": {"text": text}})
                assert (await talk.next())["type"] == "accepted"
                await talk.send("subscribe", id="s", task_id="t")
                assert [frame["type"] for frame in await talk.some(2)] == ["subscribed", "event"]
                async with talking(twin, "/v1/stream/t", key=None, ssl=trust) as stream:
                    await stream.send("hello", authorization=f"Bearer {twin.key}")
                    assert (await stream.next())["event"] == "accepted"
                    await talk.send("cancel", id="c", task_id="t")
                    code, said = await stream.code()
                    assert (code, said[-1]["data"]["status"]) == (1000, "CANCELED")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(talk_over_tls())


def test_a_clients_certificate_speaks_until_a_credential_does_on_the_loop_of_production(
    authorities: Authorities,
) -> None:
    """As over REST: what is said in `Authorization` counts, a certificate only where nothing is."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(speak_by_certificate(authorities))


async def speak_by_certificate(authorities: Authorities) -> None:
    async with world(tls=authorities.settings(clients=True)) as twin:
        worker, guest = authorities.of(WORKER), authorities.of(GUEST)
        other = await twin.issue("other")
        await asyncio.sleep(0.02)
        with pytest.raises((ssl.SSLError, ConnectionError, InvalidMessage)):
            async with talking(twin, ssl=authorities.of()):
                raise AssertionError("it has no certificate")
        async with talking(twin, key=None, ssl=worker) as talk:
            assert (await talk.next())["type"] == "welcome"
            await accepted(talk, "t")
            async with talking(twin, key=other, ssl=worker) as strange:  # the key counts, as over REST
                await strange.send("cancel", id="1", task_id="t")
                assert (await strange.next())["problem"]["status"] in {404, 503}
                await accepted(strange, "o")
            assert await twin.history("o", "other") == ["accepted"]
            with pytest.raises(InvalidStatus, match="401"):  # a bad key is not made up for
                async with talking(twin, key="aion_x", ssl=worker):
                    raise AssertionError("it was opened")
            async with talking(twin, key=None, ssl=guest) as unknown:  # its certificate is nobody's
                await unknown.send("hello", authorization=f"Bearer {other}")
                assert (await unknown.next())["type"] == "welcome"
            await hello_beside_a_certificate(twin, talk, other)


async def hello_beside_a_certificate(twin: TwinEdge, talk: Talk, other: str) -> None:
    """A socket stays its tenant's; a credential that was taken counts from then on, and falls for itself."""
    await talk.send("hello", authorization=f"Bearer {other}")
    assert (await talk.next())["problem"]["code"] == "forbidden"
    await accepted(talk, "still-acme")
    assert await twin.history("still-acme", "acme") == ["accepted"]
    await talk.send("hello", authorization=f"Bearer {twin.key}")
    assert (await talk.next())["type"] == "welcome"
    await twin.revoke(twin.key)
    code, said = await talk.code()
    assert (code, said[-1]["problem"]["code"]) == (4401, "unauthenticated")
