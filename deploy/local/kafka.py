"""Apache Kafka in KRaft mode, one process, from its Maven artifacts."""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals

from deploy.local.cache import installed
from deploy.local.ports import LOOPBACK
from deploy.local.process import run
from deploy.local.server import Launch, Place
from deploy.local.version import dotted, parse_version
from schemas.errors import LocalServerError

SOURCES = Path(__file__).parents[1] / "kafka"
POM = SOURCES / "pom.xml"
LOGGING = SOURCES / "log4j2.properties"
JVM = (
    "-Xms128m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true",
)  # fmt: skip
"""A laptop's share. Serial collection: at this heap it starts faster and pauses no longer than the others."""
METADATA, METADATA_VERSION, CORRELATION = 3, 1, 7
ANSWER_LIMIT_BYTES = 1 << 20
SMALL = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "auto.create.topics.enable": "false",
    "log.cleaner.dedupe.buffer.size": "4194304",  # the default takes half of our heap
    "num.io.threads": "2",
    "log.segment.bytes": "16777216",
}


@dataclass(frozen=True, slots=True)
class Kafka:
    """One broker that is its own controller. Topics are made by their owner: auto-creation is off."""

    name: str = "kafka"
    port_names: tuple[str, ...] = ("client", "controller")
    stop_signal: Signals = SIGTERM

    def prepare(self, place: Place) -> Launch:
        """Fetch the jars once, write `server.properties`, format the log folder once."""
        java = _tool("java", "a Java runtime, 17 or newer")
        jars = fetch_jars(place)
        data = place.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = place.folder / "server.properties"
        config.write_text(server_properties(place.ports, data))
        start = (java, *JVM, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{jars}/*")
        if not (data / "meta.properties").exists():
            place.say("kafka: formatting its log folder")
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            options = (
                "format",
                "--standalone",
                f"--cluster-id={cluster}",
                "-c",
                str(config),
            )  # an id may begin with a dash
            run((*start, "kafka.tools.StorageTool", *options), what="kafka format", timeout_s=60)
        return Launch((*start, "kafka.Kafka", str(config)), _version(jars), data)

    def check(self, place: Place) -> None:
        """Ask for the cluster's metadata: ready when a broker and a controller are named."""
        with socket.create_connection((LOOPBACK, place.ports["client"]), timeout=1) as connection:
            connection.sendall(metadata_request())
            head = _read(connection, 4)
            size = min(struct.unpack(">i", head)[0], ANSWER_LIMIT_BYTES)
            brokers, controller = parse_metadata(_read(connection, size))
        if not brokers or controller < 0:
            raise ValueError(f"{brokers} brokers, controller {controller}")

    def url(self, place: Place) -> str:
        """Give `host:port`, a list of bootstrap servers with one member."""
        return f"{LOOPBACK}:{place.ports['client']}"


def server_properties(ports: Mapping[str, int], data: Path) -> str:
    """Give the text of `server.properties`: one replica of everything, and small internal topics."""
    client, controller = f"{LOOPBACK}:{ports['client']}", f"{LOOPBACK}:{ports['controller']}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{client}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "controller.quorum.bootstrap.servers": controller,
        "log.dirs": str(data),
        **SMALL,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def metadata_request() -> bytes:
    """Give a framed Metadata request (KIP-896 keeps this version in Kafka 4) that names no topic."""
    body = struct.pack(">hhih", METADATA, METADATA_VERSION, CORRELATION, -1) + struct.pack(">i", 0)
    return struct.pack(">i", len(body)) + body


def parse_metadata(answer: bytes) -> tuple[int, int]:
    """Give the number of brokers and the controller's id (-1: none yet) from an unframed answer."""
    try:
        correlation, brokers = struct.unpack_from(">ii", answer)
        at = 8
        for _ in range(brokers):
            at = _skip_string(answer, at + 4)  # id, then host
            at = _skip_string(answer, at + 4)  # port, then rack
        (controller,) = struct.unpack_from(">i", answer, at)
    except struct.error as error:
        raise ValueError(f"not a Metadata answer: {answer[:32]!r}") from error
    if correlation != CORRELATION:
        raise ValueError(f"answer to another request: {correlation}")
    return brokers, controller


def fetch_jars(place: Place) -> Path:
    """Give the folder of the broker's jars, resolved once per content of the pom, with checksums enforced."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]

    def install(target: Path) -> None:
        maven = _tool("mvn", "Maven")
        place.say("kafka: fetching the broker's jars with Maven")
        goal = ("dependency:copy-dependencies", f"-DoutputDirectory={target}")
        run((maven, "-q", "-B", "-C", "-f", str(POM), *goal), what="kafka jars", timeout_s=300)

    return installed(place.cache, f"kafka-{digest}", install)


def _tool(name: str, described: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LocalServerError(
            f"{described} is not installed; run deploy/local/bootstrap.sh or set AION_KAFKA__BOOTSTRAP"
        )
    return found


def _version(jars: Path) -> str:
    for jar in jars.glob("kafka-server-[0-9]*.jar"):
        return dotted(parse_version(jar.stem))
    raise LocalServerError(f"{jars} holds no Kafka; delete it and start again")


def _skip_string(answer: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">h", answer, at)
    return at + 2 + max(int(length), 0)


def _read(connection: socket.socket, size: int) -> bytes:
    answer = b""
    while len(answer) < size:
        chunk = connection.recv(size - len(answer))
        if not chunk:
            raise ConnectionError(f"closed after {len(answer)} of {size} bytes")
        answer += chunk
    return answer
