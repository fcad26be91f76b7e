"""Who may enter: the auth actor and two edges over real HTTP and the twin of the bus, and an issuer of our own."""

import asyncio
import io
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from forgery import compact, forgeries

from actors.auth.actor import Auth
from actors.auth.key_files import KeyFiles
from actors.auth.settings import AuthSettings, Issuer
from actors.runtime import Context
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from bus.port import Service
from bus.questions import (
    AUTH_KEY_CREATE,
    AUTH_KEY_REVOKE,
    AUTH_KEY_ROTATE,
    AUTH_REVOKE,
    AUTH_SIGNING_ROTATE,
)
from edge.actor import Edge
from edge.settings import EdgeSettings
from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.events import AuditEvent
from schemas.identity import KeyCreate, KeyIssued, KeyRevoke, KeyRotate, SigningRotate, TokenRevoke
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, checksum, mint, record_key
from schemas.message import decode, encode
from schemas.registry import ApiKeyRecord, ModuleRecord
from schemas.scopes import DEFAULT, Scope

PEPPER = "a pepper of the tests, longer than".replace(" ", "-")


@dataclass
class World:
    """Two edges, the auth actor behind them, and a client in front."""

    bus: MemoryBus
    server: MemoryServer
    edges: list[Edge]
    auth: Auth
    http: aiohttp.ClientSession
    folder: Path

    async def call(
        self, method: str, path: str, credential: str | None = None, *, edge: int = 0, **kwargs: Any
    ) -> tuple[int, Mapping[str, str], Any]:
        headers = {"Authorization": f"Bearer {credential}"} if credential is not None else {}
        url = f"http://127.0.0.1:{self.edges[edge].port}{path}"
        async with self.http.request(method, url, headers=headers | kwargs.pop("headers", {}), **kwargs) as response:
            return response.status, response.headers, await response.json(content_type=None)

    async def status(self, credential: str, *, edge: int = 0) -> int:
        """200 for a credential that is believed."""
        return (await self.call("GET", "/v1/intents", credential, edge=edge))[0]

    async def key(self, *, scopes: tuple[Scope, ...] = DEFAULT, note: str = "") -> KeyIssued:
        issued = await self.bus.rpc.ask(AUTH_KEY_CREATE, KeyCreate(tenant_id="acme", scopes=scopes, note=note))
        await asyncio.sleep(0.01)
        return issued

    async def sign_in(self, subject: str = "alice", key: str | None = None) -> dict[str, Any]:
        credential = key or (await self.key(scopes=("tasks:submit", "tasks:read", "tokens:issue"))).key
        status, _, tokens = await self.call("POST", "/v1/auth/token", credential, json={"subject": subject})
        assert status == 200, tokens
        return dict(tokens)

    async def audit(self) -> list[AuditEvent]:
        async with self.bus.log.read(0) as reader:
            entries = await reader.next(0.2)
        events = [entry.event() for entry in entries]
        return [event for event in events if isinstance(event, AuditEvent)]

    def signing_key(self) -> tuple[str, Ed25519PrivateKey]:
        files = KeyFiles(self.folder, None)
        newest = max(files.load(), key=lambda key: key.record.signs_from_ms)
        return newest.record.kid, files.private(newest)


@asynccontextmanager
async def world_of(folder: Path, **settings: Any) -> AsyncIterator[World]:
    server = MemoryServer()
    async with AsyncExitStack() as stack:
        bus = MemoryBus(server)
        module = ModuleRecord(name="greeter", version="1.0.0", digest="sha256:" + "0" * 64, intents=("greet",))
        await bus.kv.put(subjects.MODULES, "greeter", encode(module))
        auth_settings = AuthSettings(key_pepper=PEPPER, folder=folder, **{"tick_s": 0.05, "lead_s": 0.1} | settings)
        auth = Auth(Context(MemoryBus(server), "auth-1", structlog.get_logger(), server.now_ms), auth_settings)
        await stack.enter_async_context(auth.lifespan())
        await stack.enter_async_context(bus.rpc.serve(Service("auth", "0.0.0", "auth-1"), auth.answers()))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = group.create_task(auth.run())
        stack.callback(auth.context.draining.set)
        edges = []
        for number in (1, 2):
            context = Context(MemoryBus(server), f"edge-{number}", structlog.get_logger(), server.now_ms)
            edge = Edge(context, EdgeSettings(port=0, drain_grace_s=0.5, key_pepper=PEPPER))
            await stack.enter_async_context(edge.lifespan())
            edges.append(edge)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await asyncio.sleep(0.02)
        yield World(bus, server, edges, auth, http, folder)
        assert not running.done()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path / "auth") as world:
        yield world


async def test_a_key_opens_what_its_scopes_name_and_is_told_what_it_lacks(world: World) -> None:
    reading = (await world.key(scopes=("tasks:read",))).key
    status, headers, problem = await world.call("POST", "/v1/tasks", reading, json={"intent": "greet"})
    assert (status, problem["code"]) == (403, "insufficient_scope")
    assert "tasks:submit" in problem["detail"]
    assert 'error="insufficient_scope"' in headers["WWW-Authenticate"]
    assert (await world.call("GET", "/v1/tasks/none", reading))[0] == 503  # past the door; there is no ledger here
    assert (await world.call("POST", "/v1/tasks/none/cancel", reading))[0] == 403
    assert await world.status(reading) == 200
    everything = (await world.key(scopes=("admin",))).key
    prefer = {"Prefer": "respond-async"}
    assert (await world.call("POST", "/v1/tasks", everything, json={"intent": "greet"}, headers=prefer))[0] == 202


async def test_only_a_keyed_hash_is_stored_and_keys_made_before_there_was_a_pepper_stay_good(world: World) -> None:
    issued = await world.key()
    stored = await world.bus.kv.get(subjects.KEYS, record_key(issued.key_id))
    assert stored is not None
    assert issued.key.split("_")[2] not in stored.value.decode()
    assert decode(stored.value, ApiKeyRecord).pepper_id is not None
    text, record = mint(TenantId("acme"), world.server.now_ms(), random.randbytes(RANDOM_BYTES))
    old = {key: value for key, value in json.loads(encode(record)).items() if key not in ("pepper_id", "scopes")}
    await world.bus.kv.put(subjects.KEYS, record_key(record.key_id), json.dumps(old).encode())
    await asyncio.sleep(0.01)
    prefer = {"Prefer": "respond-async"}
    assert (await world.call("POST", "/v1/tasks", text, json={"intent": "greet"}, headers=prefer))[0] == 202


async def test_an_edge_without_the_pepper_says_so_and_blames_nobody(world: World) -> None:
    issued = await world.key()
    context = Context(MemoryBus(world.server), "edge-3", structlog.get_logger(), world.server.now_ms)
    bare = Edge(context, EdgeSettings(port=0, drain_grace_s=0.1))
    async with bare.lifespan():
        world.edges.append(bare)
        status, _, problem = await world.call("GET", "/v1/intents", issued.key, edge=2)
        assert (status, "key_pepper" in problem["detail"]) == (503, True)


async def test_a_rotated_key_works_beside_its_follower_until_the_overlap_is_over(world: World) -> None:
    old = await world.key(scopes=("tasks:read",), note="ci")
    new = await world.bus.rpc.ask(AUTH_KEY_ROTATE, KeyRotate(key_id=old.key_id, overlap_s=1))
    assert (new.tenant_id, new.scopes, new.note, new.replaces) == ("acme", ("tasks:read",), "ci", old.key_id)
    await asyncio.sleep(0.01)
    assert [await world.status(key.key) for key in (old, new)] == [200, 200]
    await asyncio.sleep(1.05)
    assert [await world.status(key.key) for key in (old, new)] == [401, 200]
    with pytest.raises(Conflict):
        await world.bus.rpc.ask(AUTH_KEY_ROTATE, KeyRotate(key_id=old.key_id, overlap_s=1))


async def test_a_revoked_key_is_refused_on_every_edge_and_so_is_all_that_came_of_it(world: World) -> None:
    key = await world.key(scopes=("tasks:read", "tokens:issue"))
    user = await world.sign_in(key=key.key)
    own = (await world.call("POST", "/v1/auth/token", key.key, json={}))[2]
    assert "refresh_token" not in own or own["refresh_token"] is None
    credentials = [key.key, user["access_token"], own["access_token"]]
    assert [await world.status(text, edge=edge) for text in credentials for edge in (0, 1)] == [200] * 6
    await world.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
    await asyncio.sleep(0.01)
    assert [await world.status(text, edge=edge) for text in credentials for edge in (0, 1)] == [401] * 6
    assert (await refresh(world, user))[0] == 401
    assert (await world.call("POST", "/v1/auth/token", key.key, json={}))[0] == 401


async def test_a_credential_with_bytes_that_are_no_text_gets_no_token(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.edges[0].port)
    writer.write(b"POST /v1/auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n")
    writer.write(b"Authorization: Bearer aion_\xff\r\n\r\n{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_no_key_is_issued_for_nonsense(world: World) -> None:
    for asked in (
        KeyCreate(tenant_id="_aion"),
        KeyCreate(tenant_id="acme", scopes=()),
        KeyCreate(tenant_id="acme", expires_at_ms=1),
    ):
        with pytest.raises(InvalidRequest):
            await world.bus.rpc.ask(AUTH_KEY_CREATE, asked)
    with pytest.raises(NotFound):
        await world.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id="none"))


async def refresh(world: World, tokens: Mapping[str, Any], edge: int = 0) -> tuple[int, Any]:
    body = {"refresh_token": tokens["refresh_token"]}
    status, _, answer = await world.call("POST", "/v1/auth/refresh", json=body, edge=edge)
    return status, answer


async def test_a_user_acts_for_the_tenant_of_the_key_that_vouched_for_him(world: World) -> None:
    tokens = await world.sign_in()
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "tasks:submit tasks:read")
    for body, status in (({}, 202), ({"tenant_id": "acme"}, 202), ({"tenant_id": "other"}, 403)):
        asked = {"intent": "greet", **body}
        said = {"Prefer": "respond-async", "X-Aion-Tenant": "other", "X-Tenant-Id": "other"}
        answer = await world.call("POST", "/v1/tasks", tokens["access_token"], json=asked, headers=said)
        assert answer[0] == status
    assert all(".acme." in key for key in await subjects_of_tasks(world))
    bad = await world.call("POST", "/v1/auth/token", (await world.key()).key, json={"subject": "eve"})
    assert (bad[0], bad[2]["code"]) == (403, "insufficient_scope")


async def subjects_of_tasks(world: World) -> list[str]:
    async with world.bus.log.read(0) as reader:
        return [entry.subject for entry in await reader.next(0.2) if entry.subject.startswith("aion.task.")]


async def test_a_refresh_token_is_good_once_and_used_twice_it_ends_its_family(world: World) -> None:
    first = await world.sign_in()
    status, second = await refresh(world, first)
    assert status == 200
    assert [await world.status(tokens["access_token"]) for tokens in (first, second)] == [200, 200]
    status, problem = await refresh(world, first, edge=1)
    assert (status, "used before" in problem["detail"]) == (401, True)
    await asyncio.sleep(0.01)
    assert [await world.status(t["access_token"], edge=e) for t in (first, second) for e in (0, 1)] == [401] * 4
    assert (await refresh(world, second))[0] == 401
    why = [event.detail["why"] for event in await world.audit() if event.kind == "tokens_revoked"]
    assert why == ["a refresh token was used twice"]


async def test_of_two_that_refresh_at_once_at_most_one_wins(world: World) -> None:
    first = await world.sign_in()
    answers = await asyncio.gather(*(refresh(world, first, edge=number % 2) for number in range(8)))
    assert sorted(status for status, _ in answers)[1:] == [401] * 7


async def test_a_forged_refresh_token_ends_nobodys_family(world: World) -> None:
    first = await world.sign_in()
    name, family, proof, turn, _ = first["refresh_token"].split("_")
    for parts in ((name, family, proof[::-1], turn), (name, family[::-1], proof, turn)):
        body = "_".join(parts)
        assert (await refresh(world, {"refresh_token": f"{body}_{checksum(body)}"}))[0] == 401
    assert (await refresh(world, {"refresh_token": first["access_token"]}))[0] == 401
    assert await world.status(first["refresh_token"]) == 401
    assert (await refresh(world, first))[0] == 200


async def test_a_bearer_and_an_operator_can_end_a_sign_in(world: World) -> None:
    one, two = await world.sign_in("alice"), await world.sign_in("bob")
    status, _, answer = await world.call("POST", "/v1/auth/revoke", json={"refresh_token": one["refresh_token"]})
    assert (status, answer) == (200, {})
    claims = jwt.decode(two["access_token"], options={"verify_signature": False})
    await world.bus.rpc.ask(AUTH_REVOKE, TokenRevoke(family=claims["family"]))
    await asyncio.sleep(0.01)
    assert [await world.status(tokens["access_token"], edge=1) for tokens in (one, two)] == [401, 401]
    assert (await world.call("POST", "/v1/auth/revoke", json={"refresh_token": "anything"}))[0] == 200


async def test_keys_are_rotated_under_load_and_no_valid_request_is_refused(tmp_path: Path) -> None:
    async with world_of(tmp_path / "auth", access_ttl_s=10) as world:
        key, seen, done = (await world.key()).key, set[str](), asyncio.Event()
        statuses: list[int] = []

        async def client(number: int) -> None:
            while not done.is_set():
                status, _, tokens = await world.call("POST", "/v1/auth/token", key, json={}, edge=number % 2)
                assert status == 200
                seen.add(jwt.get_unverified_header(tokens["access_token"])["kid"])
                for edge in (0, 1, 0, 1):
                    statuses.append(await world.status(tokens["access_token"], edge=edge))

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client(number))
            for _ in range(8):
                await world.bus.rpc.ask(AUTH_SIGNING_ROTATE, SigningRotate())
                await asyncio.sleep(0.2)
            done.set()
        assert len(seen) >= 7
        assert len(statuses) > 100
        assert set(statuses) == {200}


async def test_the_key_set_is_public_and_lets_others_check_a_token(world: World) -> None:
    tokens = await world.sign_in()
    status, headers, found = await world.call("GET", "/.well-known/jwks.json")
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=30")
    assert all(set(key) == {"kty", "crv", "use", "alg", "kid", "x"} for key in found["keys"])
    keys = jwt.PyJWKSet.from_dict(found)
    kid = jwt.get_unverified_header(tokens["access_token"])["kid"]
    claims = jwt.decode(tokens["access_token"], keys[kid], algorithms=["EdDSA"], audience="aion")
    assert (claims["tenant"], claims["sub"]) == ("acme", "user:local/alice")


@pytest.fixture
async def trap() -> AsyncIterator[tuple[str, list[str]]]:
    """An address that forged tokens name, and who came there."""
    visits: list[str] = []

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", visits


async def test_no_forged_token_passes_and_none_makes_anybody_fetch(
    world: World, trap: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, visits = trap
    good = (await world.sign_in())["access_token"]
    claims, header = jwt.decode(good, options={"verify_signature": False}), jwt.get_unverified_header(good)
    kid, private = world.signing_key()
    assert header == {"alg": "EdDSA", "kid": kid, "typ": "at+jwt"}
    forged = forgeries(good, header, claims, private, url)
    connected: list[Any] = []
    resolved: list[Any] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def counted(self: socket.socket, address: Any) -> None:
        connected.append(address)
        connect(self, address)

    def counted_names(*args: Any, **kwargs: Any) -> Any:
        resolved.append(args)
        return resolve(*args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", counted)
    monkeypatch.setattr(socket, "getaddrinfo", counted_names)
    passed = {}
    for name, text in forged.items():
        bearer = await world.call("GET", "/v1/intents", text)
        as_id_token = await world.call("POST", "/v1/auth/token", json={"id_token": text})
        as_refresh = await world.call("POST", "/v1/auth/refresh", json={"refresh_token": text})
        found = [(status, said["code"]) for status, _, said in (bearer, as_id_token, as_refresh)]
        if found != [(401, "unauthenticated")] * 3:
            passed[name] = found
    assert passed == {}
    assert len(forged) >= 40
    assert await world.status(good) == 200
    ports = {edge.port for edge in world.edges}
    assert {address[1] for address in connected} <= ports, "only this client of the edges connected anywhere"
    async with aiohttp.ClientSession() as another, another.get(f"http://127.0.0.1:{world.edges[0].port}/healthz"):
        assert connected, "and what connects is counted"
    assert (visits, resolved) == ([], [])


async def test_a_token_of_a_megabyte_is_refused_before_it_is_read(world: World) -> None:
    huge = f"{'A' * 500_000}.{'A' * 500_000}.{'A' * 48_576}"
    body = io.BytesIO(json.dumps({"id_token": huge}).encode())
    status, _, problem = await world.call(
        "POST", "/v1/auth/token", data=body, headers={"Content-Type": "application/json"}
    )
    assert (status, problem["code"]) == (413, "payload_too_large")
    with suppress(aiohttp.ClientConnectionError):  # cut off while it still sends
        url, headers = f"http://127.0.0.1:{world.edges[0].port}/v1/intents", {"Authorization": f"Bearer {huge}"}
        async with world.http.get(url, headers=headers) as response:
            assert response.status == 400  # said by the HTTP parser: no head is that long
    assert await world.status((await world.key()).key) == 200


async def test_without_an_auth_actor_keys_open_and_tokens_are_a_503(world: World) -> None:
    server = MemoryServer()
    bus = MemoryBus(server)
    text, record = mint(TenantId("acme"), server.now_ms(), random.randbytes(RANDOM_BYTES))
    await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
    lonely = Edge(Context(bus, "edge-9", structlog.get_logger(), server.now_ms), EdgeSettings(port=0))
    async with lonely.lifespan():
        world.edges.append(lonely)
        assert await world.status(text, edge=2) == 200
        status, headers, problem = await world.call("POST", "/v1/auth/token", text, json={}, edge=2)
        assert (status, problem["code"], "Retry-After" in headers) == (503, "no_responders", True)
        assert (await world.call("GET", "/.well-known/jwks.json", edge=2))[2] == {"keys": []}


async def test_refusals_are_told_together_and_noise_cannot_fill_the_log(world: World) -> None:
    key = await world.key()
    await world.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
    await asyncio.sleep(0.01)
    for number in range(40):
        await world.status(f"aion_nonsense_{number}")
        text, _ = mint(TenantId("acme"), number, random.randbytes(RANDOM_BYTES))
        await world.status(text)
    for _ in range(3):
        await world.status(key.key)
    before = len(await world.audit())
    await world.edges[0]._doors._refusals.tell()
    told = [(e.tenant_id, e.subject, e.detail["count"]) for e in (await world.audit())[before:] if e.kind == "refused"]
    assert sorted(told) == [
        ("_aion", "anonymous", "40"),
        ("_aion", "anonymous", "40"),
        ("acme", f"key:{key.key_id}", "3"),
    ]


async def test_a_refusal_is_told_of_the_tenant_that_the_credential_proves_and_of_nobody_it_only_names(
    world: World,
) -> None:
    """A genuine credential that is no longer good names its tenant; a forged one is a stranger's, whatever it says."""
    key = await world.key(scopes=("tasks:read", "tokens:issue"))
    tokens = await world.sign_in(key=key.key)
    await refresh(world, tokens)
    claims, kid = jwt.decode(tokens["access_token"], options={"verify_signature": False}), world.signing_key()
    head = {"alg": "EdDSA", "kid": kid[0], "typ": "at+jwt"}
    expired = compact(head, {**claims, "iat": 1, "nbf": 1, "exp": 2}, kid[1])
    forged = compact(head, claims, Ed25519PrivateKey.generate())
    wrong_secret = key.key.split("_")
    wrong_secret[2] = wrong_secret[2][::-1]
    guess = "_".join(wrong_secret[:3])
    guess = f"{guess}_{checksum(guess)}"
    before = len(await world.audit())
    for text in (expired, forged, guess):
        assert await world.status(text) == 401
    greedy = {"subject": "eve", "scopes": ["tasks:submit"]}
    assert (await world.call("POST", "/v1/auth/token", key.key, json=greedy))[0] == 403
    assert (await world.call("POST", "/v1/auth/token", guess, json={}))[0] == 401
    assert (await refresh(world, tokens))[0] == 401, "it was used"
    assert (await refresh(world, tokens))[0] == 401, "and its family is gone"
    await world.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
    await asyncio.sleep(0.01)
    assert (await world.call("POST", "/v1/auth/token", key.key, json={}))[0] == 401
    await world.edges[0]._doors._refusals.tell()
    await world.auth._refusals.tell()
    told = [event for event in (await world.audit())[before:] if event.kind == "refused"]
    assert sorted((e.tenant_id, e.actor, e.subject, e.detail["count"]) for e in told) == [
        ("_aion", "auth", "anonymous", "1"),
        ("_aion", "auth", "anonymous", "1"),
        ("_aion", "edge", "anonymous", "1"),
        ("_aion", "edge", "anonymous", "1"),
        ("acme", "auth", f"key:{key.key_id}", "1"),
        ("acme", "auth", f"key:{key.key_id}", "1"),
        ("acme", "auth", "user:local/alice", "1"),
        ("acme", "edge", "user:local/alice", "1"),
    ]


async def test_what_was_decided_is_in_the_log_and_no_secret_is(world: World) -> None:
    key = await world.key(scopes=("tasks:read", "tokens:issue"))
    tokens = await world.sign_in(key=key.key)
    await refresh(world, tokens)
    await world.bus.rpc.ask(AUTH_KEY_ROTATE, KeyRotate(key_id=key.key_id, overlap_s=60))
    await world.bus.rpc.ask(AUTH_KEY_REVOKE, KeyRevoke(key_id=key.key_id))
    events = await world.audit()
    kinds = [event.kind for event in events]
    wanted = ["signing_key_rotated", "key_issued", "token_issued", "token_refreshed", "key_rotated", "key_revoked"]
    assert kinds == wanted
    text = b"".join(encode(event) for event in events).decode()
    for secret in (key.key.split("_")[2], tokens["refresh_token"].split("_")[3], tokens["access_token"].split(".")[2]):
        assert secret not in text


@dataclass
class Provider:
    """An OpenID provider: its discovery document, its keys, and how often somebody asked."""

    url: str
    kid: str
    private: Ed25519PrivateKey
    asked: list[str]
    broken: str = ""

    def id_token(self, *, kid: str | None = None, typ: str = "JWT", **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": self.url, "sub": "u-1", "aud": "aion-web", "iat": now, "exp": now + 300, "org": "acme"} | claims
        return jwt.encode(said, self.private, algorithm="EdDSA", headers={"kid": kid or self.kid, "typ": typ})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    found = Provider("", "k-1", Ed25519PrivateKey.generate(), [])

    async def discovery(_request: web.Request) -> web.Response:
        found.asked.append("discovery")
        if found.broken == "redirect":
            raise web.HTTPFound("/elsewhere")
        if found.broken == "huge":
            return web.Response(body=b" " * 400_000)
        said = "https://other.example" if found.broken == "another issuer" else found.url
        uri = "http://10.0.0.1/jwks" if found.broken == "unsafe" else f"{found.url}/jwks"
        return web.json_response({"issuer": said, "jwks_uri": uri})

    async def jwks(_request: web.Request) -> web.Response:
        found.asked.append("jwks")
        jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(found.private.public_key()))
        secret = {"kty": "oct", "kid": "k-oct", "k": "c2VjcmV0"}
        return web.json_response({"keys": [{**jwk, "kid": found.kid, "use": "sig"}, secret]})

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


def trusting(provider: Provider, **kwargs: Any) -> tuple[Issuer, ...]:
    fields = {"tenant_claim": "org", "tenants": ("acme",)} if "tenant" not in kwargs else {}
    return (Issuer(name="sso", issuer=provider.url, audience="aion-web", **fields | kwargs),)


async def until(condition: Any) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def test_a_user_of_a_trusted_issuer_gets_tokens_of_the_tenant_it_names(
    tmp_path: Path, provider: Provider
) -> None:
    async with world_of(tmp_path / "auth", issuers=trusting(provider)) as world:
        await until(lambda: "jwks" in provider.asked)
        await asyncio.sleep(0.05)
        before = list(provider.asked)

        async def trade(text: str) -> tuple[int, Any]:
            status, _, said = await world.call("POST", "/v1/auth/token", json={"id_token": text})
            return status, said

        status, tokens = await trade(provider.id_token())
        assert status == 200
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        assert (claims["tenant"], claims["sub"], claims["key"]) == ("acme", "user:sso/u-1", None)
        assert await world.status(tokens["access_token"], edge=1) == 200
        assert (await refresh(world, tokens))[0] == 200
        assert await world.status(provider.id_token()) == 401, "an id token opens no door by itself"
        stranger = Ed25519PrivateKey.generate()
        refused = {
            "signed by another": jwt.encode(jwt.decode(provider.id_token(), options={"verify_signature": False}),
                                            stranger, algorithm="EdDSA", headers={"kid": "k-1"}),
            "an unknown key": provider.id_token(kid="k-2"),
            "the symmetric key": provider.id_token(kid="k-oct"),
            "an access token": provider.id_token(typ="at+jwt"),
            "another audience": provider.id_token(aud="other"),
            "several audiences": provider.id_token(aud=["aion-web", "other"]),
            "issued to another": provider.id_token(azp="other"),
            "another issuer": provider.id_token(iss=f"{provider.url}/"),
            "expired": provider.id_token(exp=1_000_000_000),
            "good for a year": provider.id_token(exp=4_000_000_000),
            "from the future": provider.id_token(iat=3_999_999_999),
            "our own access token": tokens["access_token"],
        }  # fmt: skip
        for name, text in refused.items():
            assert (name, (await trade(text))[0]) == (name, 401)
        for org in ("other", "a.*", ["acme"], None):
            assert (await trade(provider.id_token(org=org)))[0] == 403
        assert provider.asked == before, "nothing was fetched for what a token says"


@pytest.mark.parametrize("how", ["redirect", "huge", "another issuer", "unsafe"])
async def test_an_issuer_that_answers_nonsense_is_not_trusted(tmp_path: Path, provider: Provider, how: str) -> None:
    provider.broken = how
    async with world_of(tmp_path / "auth", issuers=trusting(provider)) as world:
        await until(lambda: provider.asked)
        await asyncio.sleep(0.05)
        status, _, problem = await world.call("POST", "/v1/auth/token", json={"id_token": provider.id_token()})
        assert (status, problem["code"]) == (503, "unavailable")
        assert "jwks" not in provider.asked


async def test_the_keys_of_an_issuer_serve_while_it_is_away_and_follow_its_rotation(
    tmp_path: Path, provider: Provider
) -> None:
    async with world_of(tmp_path / "auth", issuers=trusting(provider), issuer_refresh_s=0.1) as world:

        async def works() -> bool:
            return (await world.call("POST", "/v1/auth/token", json={"id_token": provider.id_token()}))[0] == 200

        await until(lambda: provider.asked.count("jwks") > 1)
        provider.broken = "redirect"
        asked = len(provider.asked)
        await until(lambda: len(provider.asked) > asked)
        assert await works()
        provider.broken = ""
        provider.kid, provider.private = "k-2", Ed25519PrivateKey.generate()
        asked = provider.asked.count("jwks")
        await until(lambda: provider.asked.count("jwks") > asked + 1)
        assert await works()


async def test_the_auth_actor_started_again_signs_with_the_keys_it_had(tmp_path: Path) -> None:
    folder = tmp_path / "auth"
    async with world_of(folder) as world:
        kid, _ = world.signing_key()
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o700, 0o600]
    async with world_of(folder) as world:
        tokens = await world.sign_in()
        assert jwt.get_unverified_header(tokens["access_token"])["kid"] == kid
