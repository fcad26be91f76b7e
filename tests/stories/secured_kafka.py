"""A real Kafka broker that lets in nobody in the clear but itself: one listener for passwords, one for certificates."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.kafka import JVM, LOGGING, Kafka, fetch_jars, server_properties
from deploy.local.ports import LOOPBACK, choose_ports
from deploy.local.server import Place

USER = "bridge"
PASSWORD = "right-and-long-enough"
START_S = 60.0
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """Where its doors are, and the files that a client needs."""

    passwords: str
    """`host:port` of the listener that wants SASL over TLS."""
    certificates: str
    """`host:port` of the listener that wants a client's certificate."""
    ca: Path
    other_ca: Path
    cert: Path
    key: Path


@contextmanager
def secured_kafka(folder: Path, cache: Path) -> Iterator[SecuredKafka]:
    """A running broker; leaving kills it."""
    ports = choose_ports(("client", "controller", "passwords", "certificates"), {}, (), Random())
    place = Place(folder, ports, cache, print)
    ca = trustme.CA()
    doors = SecuredKafka(
        f"{LOOPBACK}:{ports['passwords']}",
        f"{LOOPBACK}:{ports['certificates']}",
        *(folder / name for name in ("ca.pem", "other-ca.pem", "client.pem", "client.key")),
    )
    ca.cert_pem.write_to_path(doors.ca)
    trustme.CA().cert_pem.write_to_path(doors.other_ca)
    client = ca.issue_cert("bridge@aion.example")
    client.cert_chain_pems[0].write_to_path(doors.cert)
    client.private_key_pem.write_to_path(doors.key)
    keystore = folder / "broker.pem"
    keystore.write_bytes(_pkcs8(ca.issue_cert(LOOPBACK)))
    data, config = folder / "data", folder / "server.properties"
    data.mkdir()
    config.write_text(server_properties(ports, data) + _secured(ports, keystore, doors.ca))
    java = ("java", *JVM, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{fetch_jars(place)}/*")
    users = [f"{kind}=[name={USER},password={PASSWORD}]" for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    scram = [word for user in users for word in ("--add-scram", user)]
    form = ("format", "--standalone", "--cluster-id=c2VjdXJlZC1rYWZrYQ", "-c", str(config), *scram)
    subprocess.run((*java, "kafka.tools.StorageTool", *form), check=True, timeout=START_S, capture_output=True)
    with (folder / "kafka.log").open("wb") as log:
        broker = subprocess.Popen((*java, "kafka.Kafka", str(config)), stdout=log, stderr=log)
    try:
        _wait(broker, place, folder / "kafka.log")
        yield doors
    finally:
        broker.kill()
        broker.wait(timeout=10)


def _secured(ports: dict[str, int], keystore: Path, ca: Path) -> str:
    """What is added to `server.properties`; of a key that comes twice the last counts."""
    listeners = {
        "PLAINTEXT": ports["client"],
        "CONTROLLER": ports["controller"],
        "PASSWORDS": ports["passwords"],
        "CERTIFICATES": ports["certificates"],
    }
    spoken = [f"{name}://{LOOPBACK}:{port}" for name, port in listeners.items()]
    settings = {
        "listeners": ",".join(spoken),
        "advertised.listeners": ",".join(one for one in spoken if not one.startswith("CONTROLLER")),
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PASSWORDS:SASL_SSL,CERTIFICATES:SSL"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca),
        "listener.name.certificates.ssl.client.auth": "required",
        "listener.name.passwords.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
        "listener.name.passwords.scram-sha-256.sasl.jaas.config": f"{_SCRAM} required;",
        "listener.name.passwords.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        "listener.name.passwords.plain.sasl.jaas.config": f'{_PLAIN} required user_{USER}="{PASSWORD}";',
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _pkcs8(leaf: trustme.LeafCert) -> bytes:
    """Key and chain in one file, the key as Kafka reads it."""
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain


def _wait(broker: "subprocess.Popen[bytes]", place: Place, log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and broker.poll() is None:
        with suppress(OSError, ValueError):
            Kafka().check(place)
            return
        time.sleep(0.1)
    raise RuntimeError(f"the secured Kafka did not start: {log.read_text()[-2000:]}")
