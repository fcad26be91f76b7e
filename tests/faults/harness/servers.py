"""The three servers that hold something, each at a port of its own, to be broken one by one."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from random import Random
from signal import Signals

from harness import processes

from deploy.local.kafka import Kafka
from deploy.local.nats import Nats
from deploy.local.ports import LOOPBACK, choose_ports
from deploy.local.postgres import Postgres
from deploy.local.server import Launch, LocalServer, Place
from deploy.local.state import StateFile
from deploy.local.supervise import Supervisor
from deploy.local.unprivileged import leave_refuge

SERVERS = ("nats", "kafka", "postgres")


@dataclasses.dataclass
class FrontedKafka:
    """Kafka that sends its clients to a front: the broker's own traffic keeps a listener behind it."""

    front_port: int = 0
    inner: Kafka = dataclasses.field(default_factory=Kafka)
    name: str = "kafka"
    port_names: tuple[str, ...] = ("client", "controller", "internal")

    @property
    def stop_signal(self) -> Signals:
        """See `LocalServer`."""
        return self.inner.stop_signal

    def prepare(self, place: Place) -> Launch:
        """As the inner one, then its addresses."""
        launch = self.inner.prepare(place)
        config = place.folder / "server.properties"
        config.write_text(with_front(config.read_text(), place.ports, self.front_port))
        return launch

    def check(self, place: Place) -> None:
        """See `LocalServer`; at the broker itself, whatever the front does."""
        self.inner.check(place)

    def url(self, place: Place) -> str:
        """Where clients are sent."""
        return f"{LOOPBACK}:{self.front_port}"


def with_front(properties: str, ports: Mapping[str, int], front_port: int) -> str:
    """`server.properties` with clients' traffic through the front."""
    settings = dict(line.split("=", 1) for line in properties.splitlines())
    client, internal = f"{LOOPBACK}:{ports['client']}", f"{LOOPBACK}:{ports['internal']}"
    settings |= {
        "listeners": f"PLAINTEXT://{client},INTERNAL://{internal},CONTROLLER://{LOOPBACK}:{ports['controller']}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{front_port},INTERNAL://{internal}",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class Servers:
    """Starts, kills, pauses and ends them; every process it started is its own to end. All calls may block."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._state = StateFile(folder)
        self._folder = folder
        self.kafka = FrontedKafka()
        self._servers: dict[str, LocalServer] = {"nats": Nats(), "kafka": self.kafka, "postgres": Postgres()}
        taken: set[int] = set()
        self._places: dict[str, Place] = {}
        for name, server in self._servers.items():
            ports = choose_ports(server.port_names, {}, taken, Random())
            taken.update(ports.values())
            self._places[name] = Place(folder / name, ports, cache, lambda _: None)
        folder.mkdir(parents=True, exist_ok=True)

    def port(self, name: str) -> int:
        """Where the server itself listens."""
        return self._places[name].ports["client"]

    def direct_url(self, name: str) -> str:
        """The server itself, past every front; Kafka sends its clients to its front all the same."""
        return f"{LOOPBACK}:{self.port(name)}" if name == "kafka" else self._servers[name].url(self._places[name])

    def up(self, name: str) -> None:
        """Start it and return once it serves."""
        Supervisor(self._servers[name], self._state).up(self._places[name])

    def pids(self, name: str) -> list[int]:
        """The server and its workers."""
        return processes.family(self._state.read().started[name].pid)

    def kill(self, name: str) -> int:
        """SIGKILL the server with its workers; gives its exit status once all are gone."""
        pids = self.pids(name)
        processes.kill(pids)
        status = processes.reap(pids[0])
        processes.wait_gone(pids)
        return status

    def down(self) -> None:
        """Stop what runs, and delete what a server had to keep elsewhere."""
        for name, record in self._state.read().started.items():
            processes.resume(processes.family(record.pid))
            Supervisor(self._servers[name], self._state).down(record)
            leave_refuge(self._folder / name)
