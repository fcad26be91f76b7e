"""`aionctl doctor`: what is wrong here, and one command that mends it."""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from actors.cli.door import find_door
from actors.cli.environment import environment
from actors.cli.exits import Exit
from actors.cli.options import Json
from actors.cli.output import emit
from actors.cli.session import within
from actors.runtime.settings import read_settings
from bus import Bus, BusSettings
from schemas.errors import AionError

ADDRESSES = {
    "kafka": ("AION_KAFKA__BOOTSTRAP", 9092),
    "postgres": ("AION_POSTGRES__URL", 5432),
    "redis": ("AION_REDIS__URL", 6379),
}
_START = ".venv/bin/aionctl servers up"
_PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `fix` is a command, empty when all is well."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def doctor(*, as_json: Json = False) -> int:
    """Check Python, Java, settings, servers, JetStream and the API key; each failure names one command to mend it."""
    checks = [_python(), _java(), _settings(), *_servers(), *_bus(), _key()]
    text = "\n".join(_line(check) for check in checks)
    emit([asdict(check) for check in checks], as_json=as_json, text=text)
    return Exit.OK if all(check.ok for check in checks) else Exit.FAILURE


def _line(check: Check) -> str:
    return f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.found}" + (
        f"\n      {check.fix}" if check.fix else ""
    )


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Check("python", good, found, "" if good else "uv python install 3.11")


def _java() -> Check:
    fix = "apt-get install -y openjdk-17-jre-headless"
    path = shutil.which("java")
    if path is None:
        return Check("java", False, "not found; the local Kafka needs it", fix)
    done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    words = done.stderr.split('"')
    version = words[1] if len(words) > 1 else "unknown"
    major = version.split(".")[0]
    good = major.isdigit() and int(major) >= 17
    return Check("java", good, version, "" if good else fix)


def _settings() -> Check:
    try:
        read_settings(environment())
    except AionError as error:
        return Check("settings", False, error.message, "env | grep ^AION_")
    return Check("settings", True, "every key is known")


def _servers() -> list[Check]:
    environ = environment()
    return [_server(name, environ.get(variable), port) for name, (variable, port) in ADDRESSES.items()]


def _server(name: str, address: str | None, default_port: int) -> Check:
    if not address:
        return Check(name, False, "no address is configured", _START)
    parts = urlsplit(address.split(",")[0] if "://" in address else f"//{address.split(',')[0]}")
    host, port = parts.hostname or "127.0.0.1", parts.port or default_port
    try:
        with socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S):
            return Check(name, True, f"{host}:{port} listens")
    except OSError as error:
        return Check(name, False, f"{host}:{port}: {error.strerror or error}", _START)


def _bus() -> Sequence[Check]:
    """Opening the bus checks the server's version and what JetStream was asked for, so its words are the finding."""
    try:
        settings = read_settings(environment()).load("nats", BusSettings)
        settings = settings.model_copy(update={"connect_timeout_s": _PROBE_TIMEOUT_S})
        return asyncio.run(within(settings, _look(), 2 * _PROBE_TIMEOUT_S))
    except AionError as error:
        fix = _START if error.retryable or error.code == "deadline_exceeded" else "env | grep ^AION_NATS_"
        return [Check("nats", False, error.message, fix)]


def _look() -> Callable[[Bus], Awaitable[Sequence[Check]]]:
    async def work(bus: Bus) -> Sequence[Check]:
        info = await bus.log.info()
        seen = await bus.rpc.discover()
        names = ", ".join(sorted({service.name for service in seen}))
        return [
            Check("nats", True, f"JetStream log holds {info.first} to {info.last}, {info.size_bytes} bytes"),
            Check("actors", bool(seen), names or "none answers", "" if seen else ".venv/bin/aionctl run all"),
        ]

    return work


def _key() -> Check:
    try:
        find_door(environment())
    except AionError as error:
        return Check("key", False, error.message, ".venv/bin/aionctl key create --tenant demo")
    return Check("key", True, "found")
