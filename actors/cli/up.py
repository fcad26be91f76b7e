"""`aionctl up`: everything on this machine, shown working."""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from actors.cli.door import DOOR_FILE, Door, trust_of
from actors.cli.environment import LOCAL_DIR, local_secrets
from actors.cli.first_task import ensure_key, hints, proof, record_line, run_task
from actors.cli.fleet import Fleet, running
from actors.cli.options import Json
from actors.cli.output import emit, table, talk
from actors.cli.session import section
from actors.cli.watch import status_exit
from actors.runtime.settings import Settings, read_settings
from deploy import local
from schemas.errors import Conflict, Misconfigured

READY_TIMEOUT_S = 60.0
BUILD_TIMEOUT_S = 900.0
GRPC_PORT = 50051
_SAMPLE = Path(local.__file__).with_name("sample.txt")


def up(
    *,
    once: Annotated[bool, Parameter(negative=())] = False,
    page_cache: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> int:
    """Start the servers and every actor of the Procfile, run a real task through them, and stay up until Ctrl-C.

    Parameters
    ----------
    once
        Stop everything again once the task was shown.
    page_cache
        Let NATS acknowledge before fsync: faster, and an acceptance may be lost with the machine's power.
    """
    began = time.monotonic()
    logging.basicConfig(handlers=[logging.NullHandler()])  # what a client library retries is no news here
    own = read_settings(os.environ)
    if not Path("Procfile").exists():
        raise Misconfigured("there is no Procfile here: run aionctl up in AION's folder")
    with _alone(), _stoppable():
        door_url = _free_door(own)
        try:
            environ = _prepare(page_cache=page_cache) | _grpc_door(own)
            settings = read_settings(environ)
            with running(Path("Procfile"), environ, LOCAL_DIR / "actors.log") as fleet:
                code = _show_first(fleet, settings, door_url, began, as_json=as_json)
                while not once:
                    fleet.check()
                    fleet.wait(1.0)
        finally:
            DOOR_FILE.unlink(missing_ok=True)
            _stop()
    return code


@contextmanager
def _alone() -> Iterator[None]:
    """Raises `Conflict` while another `aionctl up` runs in this folder: the two would fence each other's bridges."""
    LOCAL_DIR.mkdir(parents=True, exist_ok=True)
    with (LOCAL_DIR / "up.lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise Conflict(f"AION is up here already (process {lock.read().strip()}): stop it with Ctrl-C") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _prepare(*, page_cache: bool) -> dict[str, str]:
    """The environment of the actors, once the servers serve and the packages are built; both go on at once."""
    with ThreadPoolExecutor(1) as pool:
        built = pool.submit(_build)
        infos = local.up(LOCAL_DIR, os.environ, talk, nats_sync="page-cache" if page_cache else "always")
        built.result()
    return {**local.env(infos), **local_secrets(), **os.environ}


def _build() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "executors.wasm.build"],
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Misconfigured(f"the agent packages cannot be built: {(done.stderr or done.stdout).strip()}")


def _show_first(fleet: Fleet, settings: Settings, url: str, began: float, *, as_json: bool) -> int:
    key = ensure_key(settings, LOCAL_DIR / "api-key")
    door = Door(url, key, trust_of(os.environ))
    talk("starting the actors")
    fleet.wait_ready(door, READY_TIMEOUT_S)
    DOOR_FILE.write_text(url, encoding="ascii")
    result = run_task(door, _SAMPLE.read_text(encoding="utf-8"))
    talk(f"first result after {time.monotonic() - began:.1f} s")
    events, records = proof(settings, result["task_id"])
    lines = [record_line(record) for record in records]
    if as_json:
        emit({"result": result, "events": events, "kafka": lines}, as_json=True)
    else:
        _print(result, events, lines)
    grpc_port = section(settings, "edge").grpc.port
    doors = url if grpc_port is None else f"{url}, gRPC on port {grpc_port}"
    log = LOCAL_DIR / "actors.log"
    talk(f"\nReady at {doors}; the actors' log is {log}. Ctrl-C stops everything. Try:\n{hints(door)}")
    return status_exit(result)


def _print(result: Any, events: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    emit(result, as_json=False)
    emit(events, as_json=False, text="\n" + table(("sequence", "event", "lane", "at_ms"), events))
    columns = ("topic", "partition", "offset", "ce_type", "aion_seq")
    emit(records, as_json=False, text="\n" + table(columns, records))


def _free_door(settings: Settings) -> str:
    """Where the edge will answer. Raises `Conflict` when something listens there, `aionctl up` elsewhere for one."""
    edge = section(settings, "edge")
    try:
        _bind(edge.host, edge.port)
    except OSError as error:
        where = f"{edge.host}:{edge.port}"
        raise Conflict(f"{where} is taken ({error.strerror}): stop its owner or set AION_EDGE__PORT") from error
    return f"{'http' if edge.tls.cert is None else 'https'}://{edge.host}:{edge.port}"


def _grpc_door(settings: Settings) -> dict[str, str]:
    """The gRPC door at its usual port, unless one is configured, gRPC is not installed, or something listens there."""
    edge = section(settings, "edge")
    if edge.grpc.port is not None or find_spec("grpc") is None:
        return {}
    try:
        _bind(edge.host, GRPC_PORT)
    except OSError:
        talk(f"no gRPC: {edge.host}:{GRPC_PORT} is taken; AION_EDGE__GRPC__PORT names another port")
        return {}
    return {"AION_EDGE__GRPC__PORT": str(GRPC_PORT)}


def _bind(host: str, port: int) -> None:
    """Raises `OSError` when the edge could not listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does. A second one is ignored: stopping has deadlines, half a stop leaves processes."""

    def interrupt(_number: int, _frame: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _stop() -> None:
    talk("stopping the servers")
    local.down(LOCAL_DIR)
