"""From an address to a link that the server has let in."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from bus.nats.wire.link import Link
from bus.nats.wire.parser import OnMessage
from bus.settings import BusSettings

_DEFAULT_PORT = 4222


class Refused(Exception):
    """The server, or what answers in its place, does not want us; the text says why."""


def servers_of(settings: BusSettings) -> Sequence[SplitResult]:
    """The addresses in `nats.url`, which may name several, separated by commas."""
    found = []
    for text in settings.url.split(","):
        address = text.strip()
        found.append(urlsplit(address if "://" in address else f"nats://{address}"))
    return found


def tls_context(settings: BusSettings) -> ssl.SSLContext:
    """Verifies the server against `nats.tls_ca`, else the system's authorities; shows `nats.tls_cert` if set."""
    context = ssl.create_default_context(cafile=settings.tls_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


async def shake_hands(address: SplitResult, settings: BusSettings, on_message: OnMessage) -> Link:
    """An open link. Raises `Refused` or `OSError`; the caller sets the deadline."""
    host, port = address.hostname or "127.0.0.1", address.port or _DEFAULT_PORT
    loop = asyncio.get_running_loop()
    transport, link = await loop.create_connection(lambda: Link(on_message), host, port)
    try:
        info = await link.info
        wants_tls = address.scheme == "tls" or settings.tls_ca is not None
        if wants_tls or info.get("tls_required"):
            if not info.get("tls_required") and not info.get("tls_available"):
                raise Refused("it does not speak TLS, which tls:// or nats.tls_ca demands")
            secured = await loop.start_tls(transport, link, tls_context(settings), server_hostname=host)
            if secured is None:
                raise Refused("it hung up during the TLS handshake")
            link.use(secured)
        link.write(b"CONNECT " + json.dumps(_greeting(address, settings, info)).encode() + b"\r\n")
        await link.pong()
    except BaseException as error:
        why = link.lost.result() if link.lost.done() and not isinstance(error, ssl.SSLError) else str(error)
        link.abort("no handshake")
        if isinstance(error, ssl.SSLError | ConnectionResetError):
            raise Refused(why) from error
        raise
    return link


def _greeting(address: SplitResult, settings: BusSettings, info: dict[str, Any]) -> dict[str, Any]:
    """CONNECT, with the credentials of the address first and those of the settings second."""
    greeting: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "headers": True,
        "no_responders": True,
        "echo": True,
        "protocol": 1,
        "lang": "python-aion",
        "version": "1",
        "name": settings.name,
    }
    password = settings.password.get_secret_value() if settings.password else None
    token = settings.token.get_secret_value() if settings.token else None
    if address.username and address.password:
        greeting |= {"user": unquote(address.username), "pass": unquote(address.password)}
    elif address.username:
        greeting["auth_token"] = unquote(address.username)
    elif settings.user is not None:
        greeting |= {"user": settings.user, "pass": password}
    elif token is not None:
        greeting["auth_token"] = token
    if not info.get("headers", False):
        raise Refused("it does not support headers")
    return greeting
