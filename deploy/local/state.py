"""What `up` remembers in `<data>/servers.json`: ports, processes, and which servers the operator named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from fcntl import LOCK_EX, flock
from pathlib import Path
from threading import Lock

from schemas.errors import LocalServerError


@dataclass(frozen=True, slots=True)
class Record:
    """One started server. `pid` and `born` (see `process.birth`) name its process beyond reuse of the pid."""

    version: str
    url: str
    data_dir: str
    ports: Mapping[str, int]
    pid: int
    born: str


@dataclass(frozen=True, slots=True)
class State:
    """All of the file. A record stays after its server stopped, for its ports."""

    started: Mapping[str, Record] = field(default_factory=dict)
    configured: Mapping[str, str] = field(default_factory=dict)


class StateFile:
    """The state of one data folder; threads of one process may share it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._path = data_dir / "servers.json"
        self._lock = Lock()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other `up` and `down` of this folder waiting, in this process and in others."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with (self._data_dir / "lock").open("w") as file:
            flock(file, LOCK_EX)
            yield

    def read(self) -> State:
        """Give what is remembered; an absent file is an empty state."""
        try:
            return decode(self._path.read_text())
        except FileNotFoundError:
            return State()
        except (ValueError, TypeError, KeyError) as error:
            raise LocalServerError(f"{self._path} is damaged ({error}); stop its servers and delete it") from error

    def record(self, name: str, record: Record) -> None:
        """Remember one started server, durably, before anything else can fail."""
        with self._lock:
            state = self.read()
            self._write(replace(state, started={**state.started, name: record}))

    def configure(self, configured: Mapping[str, str]) -> None:
        """Remember which servers the operator named instead of ours."""
        with self._lock:
            self._write(replace(self.read(), configured=dict(configured)))

    def _write(self, state: State) -> None:
        write_atomically(self._path, encode(state))


def encode(state: State) -> str:
    """Give the file's text."""
    return json.dumps(asdict(state), indent=2, sort_keys=True) + "\n"


def decode(text: str) -> State:
    """Read the file's text; raises ValueError, TypeError or KeyError when it is not ours."""
    raw = json.loads(text)
    started = {name: Record(**fields) for name, fields in raw["started"].items()}
    return State(started=started, configured=dict(raw["configured"]))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only: addresses may carry passwords."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
