"""All development servers at once: up, down, status."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from random import Random

from deploy.local.info import URL_VARIABLES, ServerInfo, env
from deploy.local.kafka import Kafka
from deploy.local.nats import Nats, Sync
from deploy.local.ports import choose_ports
from deploy.local.postgres import Postgres
from deploy.local.process import is_alive
from deploy.local.server import LocalServer, Place, Progress
from deploy.local.state import StateFile, write_atomically
from deploy.local.supervise import Supervisor, describe
from deploy.local.unprivileged import leave_refuge
from deploy.local.valkey import Valkey
from schemas.errors import LocalServerError

DATA_DIR = Path("var/local")


def silent(_: str) -> None:
    """The progress that nobody reads."""


def up(
    data_dir: Path = DATA_DIR,
    urls: Mapping[str, str] | None = None,
    progress: Progress = silent,
    *,
    cache_dir: Path | None = None,
    nats_sync: Sync = "always",
) -> list[ServerInfo]:
    """Start every server that does not run yet, in parallel, and wait until all of them serve.

    A server whose variable (`URL_VARIABLES`) is set in `urls` (usually os.environ) is not started: its address is
    given as configured, unchecked. Ports and data are kept between starts; `<data_dir>/servers.env` holds the
    addresses. Downloads go to `cache_dir` (default: `cache` beside the data folder). Idempotent. Raises
    LocalServerError when AION_ENV is production, or with the log's end when a server fails; the others stay up.
    """
    settings = urls or {}
    _refuse_production(settings)
    data_dir = data_dir.resolve()
    state = StateFile(data_dir)
    with state.exclusive():
        configured = {name: url for name, variable in URL_VARIABLES.items() if (url := settings.get(variable))}
        state.configure(configured)
        ours = [server for server in _servers(nats_sync) if server.name not in configured]
        places = _places(ours, state, data_dir, (cache_dir or data_dir.parent / "cache").resolve(), progress)
        _start(ours, places, state)
        infos = _infos(state)
        write_atomically(data_dir / "servers.env", "".join(f"{k}={v}\n" for k, v in env(infos).items()))
    return infos


def down(data_dir: Path = DATA_DIR) -> list[str]:
    """Stop every server that `up` started here, in parallel; give the names of those that ran.

    Their data and ports stay. Processes that merely carry a remembered pid are left alone. Raises LocalServerError
    when one cannot be stopped.
    """
    if not (data_dir / "servers.json").exists():
        return []
    state = StateFile(data_dir.resolve())
    with state.exclusive():
        started = state.read().started
        servers = [server for server in _servers() if server.name in started]
        with ThreadPoolExecutor(max_workers=len(servers) or 1) as pool:
            stopped = list(pool.map(lambda s: Supervisor(s, state).down(started[s.name]), servers))
    return [server.name for server, ran in zip(servers, stopped, strict=True) if ran]


def remove(data_dir: Path = DATA_DIR) -> None:
    """Stop what `up` started here and delete all of its data, also where a server had to keep it elsewhere."""
    down(data_dir)
    for server in _servers():
        leave_refuge(data_dir / server.name)
    shutil.rmtree(data_dir, ignore_errors=True)


def status(data_dir: Path = DATA_DIR) -> list[ServerInfo]:
    """Give every server that this folder knows, also the stopped ones (no pid), in a fixed order."""
    return _infos(StateFile(data_dir.resolve()))


def _servers(sync: Sync = "always") -> tuple[LocalServer, ...]:
    return (Nats(sync), Kafka(), Postgres(), Valkey())


def _refuse_production(settings: Mapping[str, str]) -> None:
    environment = settings.get("AION_ENV") or os.environ.get("AION_ENV")
    if environment == "production":
        raise LocalServerError(
            "AION_ENV=production: development servers keep no promises there. Set " + ", ".join(URL_VARIABLES.values())
        )


def _places(
    servers: Sequence[LocalServer], state: StateFile, data_dir: Path, cache: Path, progress: Progress
) -> dict[str, Place]:
    """Give each server that does not run its folder and ports. Chosen one by one: no port is promised twice."""
    started = state.read().started
    running = {name for name, record in started.items() if is_alive(record.pid, record.born)}
    promised: set[int] = set()
    places: dict[str, Place] = {}
    for server in servers:
        if server.name not in running:
            remembered = started[server.name].ports if server.name in started else {}
            ports = choose_ports(server.port_names, remembered, promised, Random())  # noqa: S311 - no secret
            promised.update(ports.values())
            places[server.name] = Place(data_dir / server.name, ports, cache, progress)
    return places


def _start(servers: Sequence[LocalServer], places: Mapping[str, Place], state: StateFile) -> None:
    missing = [server for server in servers if server.name in places]
    if not missing:
        return
    with ThreadPoolExecutor(max_workers=len(missing)) as pool:
        futures = [pool.submit(Supervisor(server, state).up, places[server.name]) for server in missing]
        wait(futures)
    _raise_first(futures)


def _raise_first(futures: Sequence[Future[ServerInfo]]) -> None:
    failures = [error for future in futures if (error := future.exception()) is not None]
    if len(failures) == 1 or any(not isinstance(error, LocalServerError) for error in failures):
        raise next((e for e in failures if not isinstance(e, LocalServerError)), failures[0])
    if failures:
        raise LocalServerError("\n\n".join(map(str, failures))) from failures[0]


def _infos(state: StateFile) -> list[ServerInfo]:
    known = state.read()
    infos = []
    for name in URL_VARIABLES:
        if name in known.configured:
            infos.append(ServerInfo(name, "", known.configured[name], None, None, "configured"))
        elif name in known.started:
            infos.append(describe(name, known.started[name]))
    return infos
