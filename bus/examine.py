"""Whether the bus is what AION needs: read, and never changed, unlike opening it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult

from bus.nats.clock import SAID_FROM_S, read_time
from bus.nats.connection import MINIMUM_VERSION, ApiError, Connection, connect
from bus.nats.layout import bucket_config, log_config, tokens_config
from bus.nats.rpc import NatsRpc
from bus.nats.wire.handshake import servers_of
from bus.settings import BusSettings
from bus.subjects import BUCKETS, LOG_STREAM
from bus.waiting import timeout
from schemas.errors import AionError, Unavailable
from schemas.finding import Finding

TIMEOUT_S: Final = 3.0
_NOT_FOUND: Final = 10059
_MOVED_BY_THE_SWEEPER: Final = frozenset({"max_age"})
_UNREACHABLE: Final = "aionctl servers up, or set AION_NATS__URL"


async def examine(settings: BusSettings) -> Sequence[Finding]:
    """Every server of `nats.url`, the streams and buckets, and who answers on the bus; about 3 s at most for each."""
    servers = [await _server(address) for address in servers_of(settings)]
    if not any(finding.ok for finding in servers):
        return servers
    try:
        async with connect(settings.model_copy(update={"connect_timeout_s": TIMEOUT_S})) as connection:
            streams = await _streams(connection, settings)
            return [*servers, streams, *await _clock(connection), await _actors(connection)]
    except AionError as error:
        return [*servers, Finding(name="streams", ok=False, found=error.message, fix="check the keys AION_NATS__...")]


async def _server(address: SplitResult) -> Finding:
    host, port = address.hostname or "127.0.0.1", address.port or 4222
    try:
        info = await server_info(host, port)
    except Unavailable as error:
        return Finding(name="nats", ok=False, found=error.message, fix=_UNREACHABLE)
    version = str(info.get("version", "0"))
    wanted = ".".join(map(str, MINIMUM_VERSION))
    found = f"nats-server {version} at {host}:{port}"
    if _number(version) < MINIMUM_VERSION:
        return Finding(name="nats", ok=False, found=f"{found} is too old", fix=f"install nats-server {wanted} or newer")
    if not info.get("jetstream"):
        return Finding(name="nats", ok=False, found=f"{found} has no JetStream", fix="start nats-server with -js")
    return Finding(name="nats", ok=True, found=f"{found}, with JetStream")


async def server_info(host: str, port: int, timeout_s: float = TIMEOUT_S) -> Mapping[str, Any]:
    """What a server says of itself before anybody logs in. Raises `Unavailable`."""
    try:
        async with timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                line = await reader.readline()
            finally:
                writer.close()
    except (TimeoutError, OSError, ValueError) as error:
        reason = str(error) or f"no answer within {timeout_s:g} s"
        raise Unavailable(f"{host}:{port} does not answer: {reason}") from error
    word, _, body = line.partition(b" ")
    if word != b"INFO":
        raise Unavailable(f"{host}:{port} is not a NATS server: it greets with {line[:40]!r}")
    info: dict[str, Any] = json.loads(body)
    return info


async def _streams(connection: Connection, settings: BusSettings) -> Finding:
    wanted = [log_config(settings), tokens_config(settings), *(bucket_config(name, settings) for name in BUCKETS)]
    faults: list[str] = []
    log = ""
    for config in wanted:
        try:
            answer = await connection.api(f"STREAM.INFO.{config['name']}", None, timeout_s=TIMEOUT_S)
        except ApiError as error:
            if error.err_code != _NOT_FOUND:
                raise
            faults.append(f"{config['name']} is absent")
            continue
        faults += differences(config, answer["config"])
        if config["name"] == LOG_STREAM:
            state = answer["state"]
            log = f"the log holds {state['first_seq']} to {state['last_seq']}, {state['bytes']} bytes"
    if faults:
        fix = "start an actor: it creates what is absent and sets what differs"
        return Finding(name="streams", ok=False, found="; ".join(faults), fix=fix)
    return Finding(name="streams", ok=True, found=f"{len(wanted)} as configured; {log}")


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What a stream has otherwise than asked for; the server leaves out fields that are false or zero."""
    return [
        f"{wanted['name']} has {key}={found.get(key)}, not {value}"
        for key, value in wanted.items()
        if key not in _MOVED_BY_THE_SWEEPER and found.get(key) != value and (value or found.get(key))
    ]


async def _clock(connection: Connection) -> Sequence[Finding]:
    """Nothing where there is no log yet to ask."""
    try:
        await read_time(connection)
    except ApiError as error:
        if error.err_code != _NOT_FOUND:
            raise
        return []
    ahead_s = connection.clock.ahead_ms() / 1000
    side = "ahead of" if ahead_s > 0 else "behind"
    found = f"{abs(ahead_s):.3f} s {side} the server's, by which tasks go"
    well = abs(ahead_s) <= SAID_FROM_S
    fix = "" if well else "timedatectl set-ntp true, on both machines"
    return [Finding(name="clock", ok=well, found=found, fix=fix)]


async def _actors(connection: Connection) -> Finding:
    names = sorted({service.name for service in await NatsRpc(connection).discover()})
    if not names:
        return Finding(name="actors", ok=False, found="none answers", fix="aionctl run all")
    return Finding(name="actors", ok=True, found=", ".join(names))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdigit())
