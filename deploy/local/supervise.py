"""One server from stopped to answering, and back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from deploy.local.info import ServerInfo
from deploy.local.process import birth, end, is_alive, last_lines, spawn
from deploy.local.server import LocalServer, Place
from deploy.local.state import Record, StateFile
from schemas.errors import LocalServerError

READY_DEADLINE_S = 60.0
STOP_GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Starts and stops one server, and remembers its process before waiting for it."""

    server: LocalServer
    state: StateFile

    def up(self, place: Place) -> ServerInfo:
        """Start the server and wait until it serves; raises LocalServerError with the end of its log.

        A server that does not become ready is stopped again.
        """
        place.folder.mkdir(parents=True, exist_ok=True)
        launch = self.server.prepare(place)
        began = time.monotonic()
        pid = spawn(launch.command, place.folder / "server.log", launch.variables)
        born = birth(pid) or ""
        data_dir = str(launch.data_dir)
        record = Record(launch.version, self.server.url(place), data_dir, dict(place.ports), pid, born)
        self.state.record(self.server.name, record)
        try:
            self._wait(place, record)
        except LocalServerError:
            self.down(record)
            raise
        place.say(f"{self.server.name} {launch.version} ready after {time.monotonic() - began:.1f} s: {record.url}")
        return describe(self.server.name, record)

    def down(self, record: Record) -> bool:
        """Stop the recorded process; gives False when it did not run any more."""
        return end(record.pid, record.born, self.server.stop_signal, STOP_GRACE_S)

    def _wait(self, place: Place, record: Record) -> None:
        deadline = time.monotonic() + READY_DEADLINE_S
        while True:
            alive = is_alive(record.pid, record.born)
            refusal = self._refusal(place) if alive else "it ended"
            if refusal is None:
                return
            if not alive or time.monotonic() > deadline:
                log = place.folder / "server.log"
                why = f"{self.server.name} does not serve at {record.url}: {refusal}"
                raise LocalServerError(f"{why}\nThe last lines of {log}:\n{last_lines(log)}")
            time.sleep(0.03)

    def _refusal(self, place: Place) -> str | None:
        """Why the server does not serve yet; None when it does. OSError covers a port nobody listens on."""
        try:
            self.server.check(place)
        except (OSError, ValueError, HTTPException) as error:
            return str(error) or type(error).__name__
        return None


def describe(name: str, record: Record) -> ServerInfo:
    """Give what callers see of a recorded server: no pid when its process is gone."""
    pid = record.pid if is_alive(record.pid, record.born) else None
    return ServerInfo(name, record.version, record.url, pid, Path(record.data_dir), "started")
