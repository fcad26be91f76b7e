"""A nats-server of a test's own, that can be killed, started again, and given an older disk."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bus.settings import BusSettings

START_S = 15.0


class Natsd:
    """One port and one store, in `folder` unless it is told where; `more` goes into its configuration.

    `sync` is its `sync_interval`. Whoever made it calls `kill`.
    """

    def __init__(
        self, binary: str, folder: Path, more: str = "", *, store: Path | None = None, sync: str = "always"
    ) -> None:
        self.port, self._monitor = _free_port(), _free_port()
        self._command = [binary, "-c", str(folder / "nats.conf")]
        self._store = store or folder / "store"
        (folder / "nats.conf").write_text(
            f"listen: 127.0.0.1:{self.port}\nhttp: 127.0.0.1:{self._monitor}\n{more}\n"
            f"jetstream {{ store_dir: {json.dumps(str(self._store))}, sync_interval: {sync} }}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def settings(self, **more: Any) -> BusSettings:
        return BusSettings.model_validate({"url": self.url, "max_bytes": 1 << 28, "tokens_max_bytes": 1 << 20} | more)

    def start(self) -> "Natsd":
        """Itself, once it lets clients in."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"nats-server ended with {self._process.returncode}"
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    if client.recv(5) == b"INFO ":
                        return self
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"nats-server did not listen within {START_S} s")

    def slow_consumers(self) -> int:
        """How many clients it has hung up on because they took too long."""
        with closing(HTTPConnection("127.0.0.1", self._monitor, timeout=5)) as connection:
            connection.request("GET", "/varz")
            return int(json.loads(connection.getresponse().read())["slow_consumers"])

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def back_up(self, copy: Path) -> None:
        """Copy the store of the stopped server."""
        shutil.copytree(self._store, copy)

    def restore(self, copy: Path) -> None:
        """The stopped server will find the store as it was copied."""
        shutil.rmtree(self._store)
        shutil.copytree(copy, self._store)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
