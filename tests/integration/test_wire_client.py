"""The wire client against real servers that ask for more than an address, and against scripted ones that misbehave."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr

from bus.nats.client import Listener
from bus.nats.connection import Connection, connect
from bus.nats.message import Message, encode_headers
from bus.nats.wire import WireClient, open_wire
from bus.settings import BusSettings
from schemas.errors import BusDisconnected, NoResponders, Unavailable

INFO = b'INFO {"version":"2.15.0","headers":true,"max_payload":1048576}\r\n'


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


class Told(Listener):
    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.restored = asyncio.Event()

    def link_lost(self) -> None:
        self.lost.set()

    def link_restored(self) -> None:
        self.restored.set()

    def link_closed(self) -> None: ...


@asynccontextmanager
async def nats_server(binary: str, *arguments: str, port: int = -1) -> AsyncIterator[str]:
    """The address of a server of this test's own; leaving kills it."""
    process = await asyncio.create_subprocess_exec(
        binary, "-a", "127.0.0.1", "-p", str(port), *arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(15):
            while b"Listening for client connections on" not in (line := await process.stderr.readline()):
                assert line, "nats-server ended"
        yield line.split()[-1].decode()
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def scripted(talk: Talk) -> AsyncIterator[str]:
    """The URL of a server that says what `talk` says."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking = asyncio.create_task(talk(reader, writer))
        talks.add(talking)
        await asyncio.gather(talking, return_exceptions=True)  # a client may hang up in the middle of a sentence
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for talking in talks:
            talking.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.readuntil(b"PING\r\n")
    writer.write(b"PONG\r\n")


async def echoed(connection: Connection) -> bytes:
    """A round trip through the server."""
    heard: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    await connection.subscribe("echo", heard.set_result)
    await connection.publish("echo", b"hello", head=encode_headers({"A": "1"}))
    async with asyncio.timeout(5):
        message = await heard
    assert message.headers == {"A": "1"}
    return message.data


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("--auth", "t0ken"), {"token": SecretStr("t0ken")}),
        (("--user", "ann", "--pass", "s3cret"), {"user": "ann", "password": SecretStr("s3cret")}),
    ],
)
async def test_credentials_of_the_settings_open_the_door(
    nats_binary: str, arguments: tuple[str, ...], settings: dict[str, object]
) -> None:
    async with (
        nats_server(nats_binary, *arguments) as address,
        connect(BusSettings.model_validate({"url": f"nats://{address}", **settings})) as connection,
    ):
        assert await echoed(connection) == b"hello"


async def test_credentials_of_the_address_open_the_door_and_wrong_ones_are_named(nats_binary: str) -> None:
    async with nats_server(nats_binary, "--user", "ann", "--pass", "s3cret") as address:
        async with connect(BusSettings(url=f"nats://ann:s3cret@{address}")) as connection:
            assert await echoed(connection) == b"hello"
        with pytest.raises(BusDisconnected, match="Authorization Violation"):
            async with connect(BusSettings(url=f"nats://{address}", token=SecretStr("no"), connect_timeout_s=0.5)):
                pass


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with `ca.pem`, and a server's and a client's certificate of it."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is missing: install it (Debian package openssl)"

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2")
    (tmp_path / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        more = ["-extfile", "server.ext"] if name == "server" else []
        run(*sign, "-out", f"{name}.pem", "-days", "2", *more)
    return tmp_path


@pytest.mark.parametrize("client", ["wire", "nats-py"])
async def test_tls_is_spoken_and_a_client_certificate_shown(nats_binary: str, certificates: Path, client: str) -> None:
    tls = ("--tlsverify", "--tlscert", "server.pem", "--tlskey", "server.key", "--tlscacert", "ca.pem")
    arguments = [str(certificates / word) if word.endswith((".pem", ".key")) else word for word in tls]
    mine = {name: certificates / f"client.{kind}" for name, kind in (("tls_cert", "pem"), ("tls_key", "key"))}
    async with nats_server(nats_binary, *arguments) as address:
        url = f"tls://{address}"
        settings = BusSettings.model_validate({"url": url, "client": client, "tls_ca": certificates / "ca.pem", **mine})
        async with connect(settings) as connection:
            assert await echoed(connection) == b"hello"
        with pytest.raises(BusDisconnected, match="certificate"):
            async with connect(BusSettings.model_validate({"url": url, "client": client, "connect_timeout_s": 0.5})):
                pass


async def test_tls_that_the_server_does_not_offer_is_never_left_out(nats_binary: str) -> None:
    async with nats_server(nats_binary) as address:
        with pytest.raises(BusDisconnected, match="does not speak TLS"):
            async with connect(BusSettings(url=f"tls://{address}", connect_timeout_s=0.5)):
                pass


async def test_subscriptions_stand_again_after_the_server_was_killed_and_open_questions_fail_at_once(
    nats_binary: str,
) -> None:
    server = contextlib.AsyncExitStack()
    address = await server.enter_async_context(nats_server(nats_binary))
    async with server, connect(BusSettings(url=f"nats://{address}")) as connection, asyncio.timeout(20):
        heard, back = asyncio.Event(), asyncio.Event()
        connection.on_reconnect(back.set)
        await connection.subscribe("again", lambda _message: heard.set(), queue="q")
        await connection.subscribe("silent", lambda _message: None)
        asked = asyncio.create_task(connection.request("silent", b"", timeout_s=30))
        await connection.flush(5)
        await server.aclose()
        with pytest.raises(Unavailable, match="link was lost"):
            await asked
        with pytest.raises(BusDisconnected):
            await connection.publish("again", b"")
        async with nats_server(nats_binary, port=int(address.rpartition(":")[2])):
            await back.wait()
            await connection.publish("again", b"")
            await heard.wait()
            with pytest.raises(NoResponders):
                await connection.request("nobody", b"", timeout_s=5)


async def test_the_next_server_of_the_list_is_taken_when_the_first_is_gone(nats_binary: str) -> None:
    first = contextlib.AsyncExitStack()
    one = await first.enter_async_context(nats_server(nats_binary))
    async with (
        first,
        nats_server(nats_binary) as two,
        connect(BusSettings(url=f"nats://{one}, nats://{two}")) as connection,
        asyncio.timeout(20),
    ):
        back = asyncio.Event()
        connection.on_reconnect(back.set)
        await first.aclose()
        await back.wait()
        assert await echoed(connection) == b"hello"


async def test_a_callback_that_fails_ends_nothing(nats_binary: str) -> None:
    def fail(message: Message) -> None:
        raise ValueError(message.subject)

    async with nats_server(nats_binary) as address, connect(BusSettings(url=f"nats://{address}")) as connection:
        await connection.subscribe("bad", fail)
        await connection.publish("bad", b"")
        assert await echoed(connection) == b"hello"


async def test_a_server_that_stops_answering_pings_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.nats.wire.client._PING_EVERY_S", 0.05)
    monkeypatch.setattr("bus.nats.wire.client._PING_ANSWER_S", 0.05)

    async def then_silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await reader.read()

    told = Told()
    async with scripted(then_silence) as url, open_wire(BusSettings(url=url), told), asyncio.timeout(5):
        await told.lost.wait()
        await told.restored.wait()


async def test_a_server_out_of_step_is_left_and_found_again() -> None:
    async def then_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await reader.readuntil(b"SUB x  1\r\n")
        writer.write(b"MSG x not-a-number 5\r\n")
        await reader.read()

    told = Told()
    async with scripted(then_nonsense) as url, open_wire(BusSettings(url=url), told) as client, asyncio.timeout(5):
        await client.subscribe("x", lambda _message: None, "")
        await told.lost.wait()
        await told.restored.wait()


async def test_a_refused_permission_does_not_end_the_link(nats_binary: str, tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text('authorization: {user: a, password: b, permissions: {publish: {deny: "secret"}}}\n')
    async with (
        nats_server(nats_binary, "-c", str(config)) as address,
        connect(BusSettings(url=f"nats://a:b@{address}")) as connection,
    ):
        await connection.publish("secret", b"")
        assert await echoed(connection) == b"hello"


async def test_who_waits_for_a_server_that_reads_nothing_is_told_so() -> None:
    async def then_deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await asyncio.sleep(30)

    async def flood(client: WireClient) -> None:
        while not client.congested:
            client.publish("x", bytes(1 << 20), "", b"")
            await asyncio.sleep(0)

    async with scripted(then_deaf) as url, open_wire(BusSettings(url=url), Told()) as client, asyncio.timeout(10):
        await flood(client)
        with pytest.raises(BusDisconnected, match="took nothing"):
            await client.writable(0.05)


async def test_a_server_that_takes_nothing_for_too_long_is_left_before_memory_fills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.nats.wire.link.MAX_UNSENT_BYTES", 4 << 20)

    async def then_deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        await asyncio.sleep(30)

    told = Told()
    async with scripted(then_deaf) as url, open_wire(BusSettings(url=url), told) as client, asyncio.timeout(10):
        with contextlib.suppress(BusDisconnected):
            while not told.lost.is_set():
                client.publish("x", bytes(1 << 20), "", b"")
                await asyncio.sleep(0)
        await told.lost.wait()


@pytest.mark.parametrize("client", ["wire", "nats-py"])
async def test_a_flush_asks_behind_a_subscription_and_not_before_it(client: Literal["wire", "nats-py"]) -> None:
    said: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_in(reader, writer)
        while line := await reader.readline():
            verb = line.split(b" ")[0].strip().decode()
            said.append(verb)
            if verb == "PING":
                writer.write(b"PONG\r\n")

    async with scripted(note) as url, connect(BusSettings(url=url, client=client)) as connection:
        said.clear()
        await connection.subscribe("mine", lambda _: None)
        await connection.flush(5)
        assert said[-2:] == ["SUB", "PING"]
