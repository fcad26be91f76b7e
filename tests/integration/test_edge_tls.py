"""TLS at both doors over real ports: who gets in, and certificates that change while connections stay."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
import structlog
import trustme
import uvloop

from actors.runtime import Context
from aion.v1 import tasks_pb2
from aion.v1.tasks_pb2_grpc import AionTasksStub
from bus import subjects
from bus.memory import MemoryBus, MemoryServer
from edge.actor import Edge
from edge.limits.settings import LimitsSettings
from edge.settings import EdgeSettings
from schemas.errors import Misconfigured
from schemas.ids import TenantId
from schemas.keys import RANDOM_BYTES, mint, record_key
from schemas.message import encode

WORKER = "worker.acme.example"
LOOK_S = 0.02


class Client:
    """Somebody at both doors: with a key or a certificate, and with CAs to trust."""

    def __init__(
        self, edge: Edge, ca: trustme.CA, *, key: str | None = None, leaf: trustme.LeafCert | None = None
    ) -> None:
        self._edge = edge
        self._ca = ca
        self._leaf = leaf
        self._auth = {} if key is None else {"authorization": f"Bearer {key}"}

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        if self._leaf is not None:
            self._leaf.configure_cert(context)
        connector = aiohttp.TCPConnector(ssl=context)
        base = f"https://localhost:{self._edge.port}"
        async with aiohttp.ClientSession(base, connector=connector, headers=self._auth) as session:
            yield session

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        root = self._ca.cert_pem.bytes()
        leaf = self._leaf
        chain = (None, None) if leaf is None else (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
        credentials = grpc.ssl_channel_credentials(root, *chain)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"localhost:{self._edge.grpc_port}", credentials, options) as channel:
            yield channel

    async def ask(self) -> tuple[object, object]:
        """What each door says to a connection of its own: an HTTP status and a gRPC one, None without a connection."""
        return await self._ask_http(), await self._ask_grpc()

    async def _ask_http(self) -> object:
        try:
            async with self.session() as session:
                return await over_http(session)
        except aiohttp.ClientError:
            return None

    async def _ask_grpc(self) -> object:
        async with self.channel() as channel:
            code = await self.over_grpc(channel)
        return None if code == grpc.StatusCode.UNAVAILABLE else code

    async def over_grpc(self, channel: grpc.aio.Channel) -> object:
        stub: Any = AionTasksStub(channel)  # type: ignore[no-untyped-call]
        try:
            await stub.ListIntents(tasks_pb2.ListIntentsRequest(), metadata=tuple(self._auth.items()), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def over_http(session: aiohttp.ClientSession, **headers: str) -> int:
    async with session.get("/v1/intents", headers=headers) as response:
        await response.read()
        return response.status


class Files:
    def __init__(self, folder: Path) -> None:
        self.cert, self.key, self.client_ca = folder / "cert.pem", folder / "key.pem", folder / "clients.pem"

    def put(self, ca: trustme.CA) -> None:
        leaf = ca.issue_cert("localhost")
        leaf.private_key_pem.write_to_path(self.key)
        leaf.cert_chain_pems[0].write_to_path(self.cert)

    def tls(self, **more: Any) -> dict[str, Any]:
        return {"cert": self.cert, "key": self.key, "reload_s": LOOK_S} | more


@asynccontextmanager
async def edge_of(
    tls: dict[str, Any], rates: LimitsSettings | None = None, **settings: Any
) -> AsyncIterator[tuple[Edge, str]]:
    """An edge, and a key to it."""
    server = MemoryServer()
    bus = MemoryBus(server)
    text, record = mint(TenantId("acme"), server.now_ms(), bytes(range(RANDOM_BYTES)))
    await bus.kv.put(subjects.KEYS, record_key(record.key_id), encode(record))
    context = Context(MemoryBus(server), "edge-1", structlog.get_logger(), server.now_ms)
    edge = Edge(context, EdgeSettings(**({"port": 0, "grpc": {"port": 0}, "tls": tls} | settings)), rates)
    async with edge.lifespan():
        yield edge, text


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


GOOD = (200, grpc.StatusCode.OK)
UNKNOWN = (401, grpc.StatusCode.UNAUTHENTICATED)


async def test_a_new_certificate_is_shown_while_open_connections_stay(files: Files) -> None:
    old, new = trustme.CA(), trustme.CA()
    files.put(old)
    async with edge_of(files.tls()) as (edge, key):
        before, after = Client(edge, old, key=key), Client(edge, new, key=key)
        assert await before.ask() == GOOD
        assert await after.ask() == (None, None)
        async with before.session() as session, before.channel() as channel:
            assert (await over_http(session), await before.over_grpc(channel)) == GOOD
            files.cert.write_text("half a file")
            await asyncio.sleep(LOOK_S * 3)
            assert await before.ask() == GOOD
            files.put(new)
            async with asyncio.timeout(5):
                while await after.ask() != GOOD:  # noqa: ASYNC110  # files tell nobody
                    await asyncio.sleep(LOOK_S)
            assert await before.ask() == (None, None)
            assert (await over_http(session), await before.over_grpc(channel)) == GOOD
        assert edge.status()["certificate_days_left"]


async def test_no_client_without_a_certificate_gets_in_where_they_are_asked_for(files: Files) -> None:
    ours, clients, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    files.put(ours)
    clients.cert_pem.write_to_path(files.client_ca)
    worker, guest = clients.issue_cert(WORKER), clients.issue_cert("guest.example")
    async with edge_of(files.tls(client_ca=files.client_ca, client_tenants={WORKER: "acme"})) as (edge, key):
        assert await Client(edge, ours, key=key).ask() == (None, None)
        assert await Client(edge, ours, key=key, leaf=strangers.issue_cert(WORKER)).ask() == (None, None)
        assert await Client(edge, ours, key=key, leaf=guest).ask() == GOOD
        assert await Client(edge, ours, leaf=guest).ask() == UNKNOWN
        assert await Client(edge, ours, leaf=worker).ask() == GOOD
        assert await Client(edge, ours, leaf=worker, key="aion_x").ask() == UNKNOWN  # a bad key is not made up for


async def test_a_certificate_is_nobody_unless_an_operator_said_whose_it_is(files: Files) -> None:
    ours, clients = trustme.CA(), trustme.CA()
    files.put(ours)
    clients.cert_pem.write_to_path(files.client_ca)
    async with edge_of(files.tls(client_ca=files.client_ca)) as (edge, key):
        worker = clients.issue_cert(WORKER)
        assert await Client(edge, ours, leaf=worker).ask() == UNKNOWN
        assert await Client(edge, ours, leaf=worker, key=key).ask() == GOOD


async def test_a_web_page_cannot_use_the_certificate_of_who_reads_it(files: Files) -> None:
    ours, clients = trustme.CA(), trustme.CA()
    files.put(ours)
    clients.cert_pem.write_to_path(files.client_ca)
    tls = files.tls(client_ca=files.client_ca, client_tenants={WORKER: "acme"})
    worker, page, evil = clients.issue_cert(WORKER), "https://app.example.com", "https://evil.example.com"
    for allowed, origin, own_key, status in (
        ((), evil, False, 403),
        ((), "null", False, 403),
        ((), evil, True, 200),
        ((page,), evil, False, 403),
        ((page,), page, False, 200),
    ):
        async with edge_of(tls, cors_origins=allowed) as (edge, key):
            client = Client(edge, ours, leaf=worker, key=key if own_key else None)
            async with client.session() as session:
                assert await over_http(session, Origin=origin) == status
                assert await over_http(session) == 200


async def test_a_web_page_that_is_refused_counts_for_its_address(files: Files) -> None:
    ca = trustme.CA()
    files.put(ca)
    ca.cert_pem.write_to_path(files.client_ca)
    tls = files.tls(client_ca=files.client_ca, client_tenants={WORKER: "acme"})
    limits = LimitsSettings.model_validate({"ip": {"rpm": 1, "burst": 2}})
    async with (
        edge_of(tls, limits) as (edge, _key),
        Client(edge, ca, leaf=ca.issue_cert(WORKER)).session() as session,
    ):
        assert [await over_http(session, Origin="https://evil.example.com") for _ in range(3)] == [403, 403, 429]


def test_client_certificates_hold_and_are_reloaded_on_the_loop_of_production(files: Files) -> None:
    """uvloop has a TLS of its own around OpenSSL: who gets in must be the same there, before and after a reload."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(mutual(files))


async def mutual(files: Files) -> None:
    ours, clients, new, new_clients = (trustme.CA() for _ in range(4))
    files.put(ours)
    clients.cert_pem.write_to_path(files.client_ca)
    async with edge_of(files.tls(client_ca=files.client_ca, client_tenants={WORKER: "acme"})) as (edge, key):
        worker = Client(edge, ours, leaf=clients.issue_cert(WORKER))
        assert await worker.ask() == GOOD
        assert await Client(edge, ours, key=key).ask() == (None, None)
        assert await Client(edge, ours, leaf=clients.issue_cert("guest.example")).ask() == UNKNOWN
        async with worker.session() as session, worker.channel() as channel:
            assert (await over_http(session), await worker.over_grpc(channel)) == GOOD
            new_clients.cert_pem.write_to_path(files.client_ca)
            files.put(new)
            after = Client(edge, new, leaf=new_clients.issue_cert(WORKER))
            async with asyncio.timeout(5):
                while await after.ask() != GOOD:  # noqa: ASYNC110  # files tell nobody
                    await asyncio.sleep(LOOK_S)
            assert await Client(edge, new, leaf=clients.issue_cert(WORKER)).ask() == (None, None)
            assert (await over_http(session), await worker.over_grpc(channel)) == GOOD


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_never_shakes_hands_is_counted_and_gives_the_place_back(files: Files, loop: Any) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(silent(files))


async def silent(files: Files) -> None:
    ca = trustme.CA()
    files.put(ca)
    async with edge_of(files.tls(), max_connections_per_ip=2, head_timeout_s=0.4, grpc={}) as (edge, key):
        client = Client(edge, ca, key=key)
        for how in ("leaves", "talks nonsense", "waits"):
            async with client.session() as session:
                assert await over_http(session) == 200
                _, one = await asyncio.open_connection("127.0.0.1", edge.port)
                reader, two = await asyncio.open_connection("127.0.0.1", edge.port)
                assert await reader.read() == b"", "the session and the one that is silent have both places"
                assert (await over_http(session), edge.status()["connections"]) == (200, 2)
            if how == "talks nonsense":
                one.write(b"GET / HTTP/1.1\r\n\r\n")
            elif how == "leaves":
                one.close()
            async with asyncio.timeout(5):
                while edge.status()["connections"]:  # noqa: ASYNC110  # connections tell nobody
                    await asyncio.sleep(0.01)
            for writer in (one, two):
                writer.close()
        assert edge.status()["connections_turned_away"] == 3
        _, last = await asyncio.open_connection("127.0.0.1", edge.port)
        while not edge.status()["connections"]:  # noqa: ASYNC110  # connections tell nobody
            await asyncio.sleep(0.01)
    assert edge.status()["connections"] == 0, "an edge that closes waits for nobody's hands"
    last.close()


async def test_neither_port_speaks_plain_text_or_old_tls(files: Files) -> None:
    ca = trustme.CA()
    files.put(ca)
    async with edge_of(files.tls()) as (edge, _key):
        assert edge.grpc_port is not None
        for port in (edge.port, edge.grpc_port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(5):
                assert b"HTTP/1.1" not in await reader.read()
            writer.close()
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.open_connection("localhost", port, ssl=old_tls())


def old_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


async def test_a_port_that_is_taken_and_a_missing_certificate_are_named(files: Files) -> None:
    async with edge_of({}) as (edge, _key):
        with pytest.raises(Misconfigured, match=f"127.0.0.1:{edge.grpc_port} .*AION_EDGE__GRPC__PORT"):
            async with edge_of({}, grpc={"port": edge.grpc_port}):
                raise AssertionError("two edges share a port")
    with pytest.raises(Misconfigured, match=r"AION_EDGE__TLS__CERT=.*cert\.pem cannot be read"):
        async with edge_of(files.tls()):
            raise AssertionError("it has no certificate")
