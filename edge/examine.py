"""Whether Redis or Valkey answers, asked in its own protocol (RESP)."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from actors.runtime.settings import RedisSettings
from bus.waiting import timeout
from schemas.finding import Finding

TIMEOUT_S: Final = 3.0
_START: Final = "aionctl servers up, or set AION_REDIS__URL"


async def examine(settings: RedisSettings) -> Sequence[Finding]:
    """One finding: PING is answered, with the credentials of the address."""
    if settings.url is None:
        return [_wrong("no address is configured", _START)]
    address = urlsplit(settings.url.get_secret_value())
    where = f"{address.hostname}:{address.port or 6379}"
    try:
        async with timeout(TIMEOUT_S):
            answer = await _ping(address)
    except (TimeoutError, OSError) as error:
        return [_wrong(f"{where} does not answer: {error or f'nothing came within {TIMEOUT_S:g} s'}", _START)]
    if answer != "+PONG":
        return [_wrong(f"{where} refuses PING: {answer[:120]}", "put user and password into AION_REDIS__URL")]
    return [Finding(name="redis", ok=True, found=f"{where} answers PING")]


async def _ping(address: SplitResult) -> str:
    """The answer to PING, or the refusal of the login before it."""
    context = ssl.create_default_context() if address.scheme == "rediss" else None
    reader, writer = await asyncio.open_connection(address.hostname or "127.0.0.1", address.port or 6379, ssl=context)
    try:
        if address.password:
            words = ["AUTH", *([unquote(address.username)] if address.username else []), unquote(address.password)]
            writer.write(command(words))
            refusal = (await reader.readline()).decode(errors="replace").rstrip()
            if refusal != "+OK":
                return refusal
        writer.write(command(["PING"]))
        return (await reader.readline()).decode(errors="replace").rstrip()
    finally:
        writer.close()


def command(words: Sequence[str]) -> bytes:
    """A command as RESP's array of bulk strings."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        text = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(text), text))
    return b"".join(parts)


def _wrong(found: str, fix: str) -> Finding:
    return Finding(name="redis", ok=False, found=found, fix=fix)
